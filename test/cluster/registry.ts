import { stringify } from 'yaml'
import type { Host } from './host.ts'
import { ownUser } from './images.ts'

const folder = '/etc/registry'

/** Where `serve` has its configuration and its storage on a host. */
export const places = { config: folder, data: '/opt/deckhouse/registry' } as const

/** The arguments of `serve` in its image. */
export const serveArguments = ['serve', '--config', `${folder}/registry.yaml`] as const

/** The port that clients use, and the one for probes. */
export const ports = { registry: 5001, admin: 5002 } as const

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

/** The address of the registry on a host, as others reach it. */
export function addressOf(host: Host): string {
  return `${host.address}:${ports.registry}`
}
