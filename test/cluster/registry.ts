import { stringify } from 'yaml'
import { host as registryName } from '../e2e/containerd.ts'
import type { Host } from './host.ts'
import { ownUser } from './images.ts'

const folder = '/etc/registry'

/** Where `serve` has its configuration and its storage on a host. */
export const places = { config: folder, data: '/opt/deckhouse/registry' } as const

/** The arguments of `serve` in its image. */
export const serveArguments = ['serve', '--config', `${folder}/registry.yaml`] as const

/** Where `agent` has its configuration on a host, and where it keeps the last good one. */
export const agentPlaces = {
  config: '/etc/registry-agent',
  file: '/etc/registry-agent/agent.yaml',
  state: '/var/lib/registry-agent',
  lastGood: '/var/lib/registry-agent/last-good.yaml'
} as const

/** The port that clients use, and those for probes of `serve` and `agent`. */
export const ports = { registry: 5001, admin: 5002, agentAdmin: 5003 } as const

/** Writes the configuration of a registry that is open to all, without TLS, and gives it its folder. */
export async function configureServe(host: Host, settings: object = {}): Promise<void> {
  const config = {
    registry: { mode: 'Local' },
    server: { listen: `0.0.0.0:${ports.registry}`, admin: `127.0.0.1:${ports.admin}` },
    storage: { filesystem: { root: places.data }, reserve: 0, inodeReserve: 0 },
    auth: { anonymous: ['pull', 'push', 'delete'] },
    ...settings
  }
  await host.write(`${folder}/registry.yaml`, stringify(config))
  await host.run('chown', [`${ownUser}:${ownUser}`, places.data])
}

/** Writes the configuration of an agent that leads the fixed name of the registry to pools of replicas, and makes its folders. */
export async function configureAgent(host: Host, pools: readonly object[]): Promise<void> {
  await host.write(agentPlaces.file, stringify({ agent: { routes: [{ names: [registryName], pools }] } }))
  await host.run('install', ['--directory', '--owner', `${ownUser}`, '--group', `${ownUser}`, agentPlaces.state])
}

/** The address of the registry on a host, as others reach it. */
export function addressOf(host: Host): string {
  return `${host.address}:${ports.registry}`
}
