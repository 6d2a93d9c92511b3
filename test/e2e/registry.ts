import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { tokenKey } from '../support/tokens.ts'
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

/** What the product's configuration file says beside the ports and the users. */
export interface Settings {
  registry?: object
  server?: object
  /** In place of a directory below the root. */
  storage?: object
  cache?: object
}

/** A running registry that is certainly the product. */
export interface Product extends Registry {
  /** `127.0.0.1:port` of the admin port. */
  readonly admin: string
  /** Writes these settings into its configuration file and sends SIGHUP; resolves when they are in force, rejects when they are refused. */
  reconfigure(settings: Settings): Promise<void>
}

/** What a registry is started with; without users everybody may do everything. */
export interface RegistryOptions {
  root: string
  pki?: Pki
  users?: Users
  /** The rights without credentials, beside users; for the product alone. */
  anonymous?: readonly string[]
  /** Whether the registry issues tokens to its users; for the product alone. */
  tokens?: boolean
  /** For the product alone; Local mode where nothing is said. */
  settings?: Settings
}

/** The same, and the folder for configuration files. */
export interface LaunchOptions extends RegistryOptions {
  folder: string
}

/** The product, or docker-registry where E2E_TARGET says so: that is how these tests are tried on a registry known to be good. */
export const target = process.env['E2E_TARGET'] === 'docker-registry' ? 'docker-registry' : 'product'

const reloadLimit = 20_000

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

/** Starts the product, whatever E2E_TARGET says; it is stopped when the test ends, if not before. */
export async function startProduct(t: Test, options: RegistryOptions): Promise<Product> {
  const registry = await launchProduct({ ...options, folder: await temporaryFolder(t) })
  t.teardown(async () => void (await registry.stop()))
  return registry
}

/** Starts the product with its settings in the folder; whoever calls stops it. */
export async function launchProduct({
  folder,
  root,
  pki,
  users,
  anonymous = [],
  tokens = false,
  settings = {}
}: LaunchOptions): Promise<Product> {
  const [address, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const tls = pki === undefined ? {} : { tls: { certificate: pki.certificate, key: pki.key } }
  const server = { listen: address, names: ['registry.d8-system.svc:5001'], admin, ...tls }
  const auth = { ...(await authOf(folder, users, anonymous)), ...(tokens ? { tokens: { keys: [await writeTokenKey(folder)] } } : {}) }
  const file = join(folder, 'registry.yaml')
  const write = async (changed: Settings) => {
    const all = {
      registry: { mode: 'Local' },
      storage: { filesystem: { root }, reserve: 0, inodeReserve: 0 },
      auth,
      ...changed,
      server: { ...server, ...changed.server }
    }
    // Through a rename, so that nobody reads half of it.
    await writeFile(`${file}.new`, stringify(all))
    await rename(`${file}.new`, file)
  }
  await write(settings)
  const place = { address, admin, root, ...(pki === undefined ? {} : { ca: pki.ca }) }
  const daemon = await startDaemon({
    command: process.execPath,
    args: ['src/main.ts', 'serve', '--config', file],
    env: { UV_THREADPOOL_SIZE: '16', NODE_OPTIONS: '' },
    probe: async () => void (await ask(place, { path: '/v2/' }))
  })
  const reconfigure = async (changed: Settings) => {
    const before = (await reloadOf(admin))?.at
    await write(changed)
    process.kill(daemon.pid, 'SIGHUP')
    await applied(admin, before)
  }
  return { ...daemon, ...place, reconfigure }
}

async function authOf(folder: string, users: Users | undefined, anonymous: readonly string[]): Promise<object> {
  if (users === undefined) return { anonymous: ['pull', 'push', 'delete'] }
  const roles = Object.fromEntries(Object.entries(users).map(([user, { rights }]) => [user, rights]))
  return { users: { file: await writeHtpasswd(folder, users), roles }, anonymous }
}

async function writeTokenKey(folder: string): Promise<string> {
  const file = join(folder, 'token.key')
  await writeFile(file, tokenKey().pem)
  return file
}

interface LastReload {
  at: string
  result: string
}

async function reloadOf(admin: string): Promise<LastReload | undefined> {
  const status: { reload?: LastReload } = JSON.parse((await ask({ address: admin }, { path: '/status' })).body.toString())
  return status.reload
}

async function applied(admin: string, before: string | undefined): Promise<void> {
  for (const deadline = Date.now() + reloadLimit; ; await sleep(50)) {
    const last = await reloadOf(admin)
    if (last !== undefined && last.at !== before) {
      if (last.result === 'applied') return
      throw new Error(`the changed settings are not in force: ${JSON.stringify(last)}`)
    }
    if (Date.now() > deadline) throw new Error('the changed settings were not looked at')
  }
}
