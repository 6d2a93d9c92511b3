import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import type { Daemon } from './daemon.ts'
import { startDaemon } from './daemon.ts'
import { launchDistribution } from './distribution.ts'
import type { Users } from './htpasswd.ts'
import { writeHtpasswd } from './htpasswd.ts'
import type { Pki } from './pki.ts'
import { freePort, temporaryFolder } from './place.ts'
import { ask } from './request.ts'

/** A running registry. */
export interface Registry extends Daemon {
  /** `127.0.0.1:port` */
  readonly address: string
  /** Path of the authority that signed its certificate; without one it speaks plain HTTP. */
  readonly ca?: string
  /** The folder that holds `docker/registry/v2`. */
  readonly root: string
}

/** What a registry is started with; without users everybody may do everything. */
export interface RegistryOptions {
  root: string
  pki?: Pki
  users?: Users
}

/** The same, and the folder for configuration files. */
export interface LaunchOptions extends RegistryOptions {
  folder: string
}

/** The product, or docker-registry where E2E_TARGET says so: that is how these tests are tried on a registry known to be good. */
export const target = process.env['E2E_TARGET'] === 'docker-registry' ? 'docker-registry' : 'product'

/** Starts the registry under test; it is stopped when the test ends, if not before. */
export async function startRegistry(t: Test, options: RegistryOptions): Promise<Registry> {
  const registry = await launchRegistry({ ...options, folder: await temporaryFolder(t) })
  t.teardown(async () => void (await registry.stop()))
  return registry
}

/** Starts the registry under test with its settings in the folder; whoever calls stops it. */
export async function launchRegistry(options: LaunchOptions): Promise<Registry> {
  return target === 'product' ? await launchProduct(options) : await launchDistribution(options)
}

/** An empty root and the registry under test on it. */
export async function freshRegistry(t: Test, options: Omit<RegistryOptions, 'root'> = {}): Promise<Registry> {
  return await startRegistry(t, { ...options, root: await temporaryFolder(t) })
}

/** Where the bytes of a blob rest under a root. */
export function dataPath(root: string, digest: string): string {
  const [algorithm = '', encoded = ''] = digest.split(':')
  return join(root, 'docker/registry/v2/blobs', algorithm, encoded.slice(0, 2), encoded, 'data')
}

async function launchProduct({ folder, root, pki, users }: LaunchOptions): Promise<Registry> {
  const address = `127.0.0.1:${await freePort()}`
  const auth =
    users === undefined
      ? { anonymous: ['pull', 'push', 'delete'] }
      : {
          users: {
            file: await writeHtpasswd(folder, users),
            roles: Object.fromEntries(Object.entries(users).map(([user, { rights }]) => [user, rights]))
          }
        }
  const settings = {
    registry: { mode: 'Local' },
    server: {
      listen: address,
      names: ['registry.d8-system.svc:5001'],
      admin: `127.0.0.1:${await freePort()}`,
      ...(pki === undefined ? {} : { tls: { certificate: pki.certificate, key: pki.key } })
    },
    storage: { filesystem: { root } },
    auth
  }
  const file = join(folder, 'registry.yaml')
  await writeFile(file, stringify(settings))
  const place = { address, root, ...(pki === undefined ? {} : { ca: pki.ca }) }
  const daemon = await startDaemon({
    command: process.execPath,
    args: ['src/main.ts', 'serve', '--config', file],
    env: { UV_THREADPOOL_SIZE: '16', NODE_OPTIONS: '' },
    probe: async () => void (await ask(place, { path: '/v2/' }))
  })
  return { ...daemon, ...place }
}
