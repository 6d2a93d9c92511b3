import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { users, writeHtpasswd } from '../e2e/htpasswd.ts'
import type { Pki } from '../e2e/pki.ts'
import { type Server, type ServerOptions, startServer } from '../long/server.ts'
import { type Image, namespace, plant } from './content.ts'

/** One of the registries of a cluster, as a process at a loopback address of its own, so that it alone can be cut off. */
export interface Replica {
  /** An IPv4 address. */
  readonly host: string
  /** `<host>:<port>`, the same after each start. */
  readonly address: string
  readonly root: string
  /** The end of what it wrote since it was started last. */
  log(): string
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves to its exit code. */
  stop(): Promise<number>
  /** It holds its connections and does nothing, from SIGSTOP to SIGCONT. */
  freeze(): void
  thaw(): void
  /** Starts it again after it has ended. */
  start(): Promise<void>
}

/** How replicas are started. */
export interface ReplicaOptions {
  /** Holds their roots; it exists. */
  folder: string
  /** What each of them has from the start. */
  images?: readonly Image[]
  /** With it they speak TLS and know the users `ro` and `rw`; without it, plain HTTP and everything is allowed. */
  pki?: Pki
  /** Further sections of their configuration. */
  sections?: ServerOptions['sections']
}

/** The addresses of replicas. */
export const hosts = ['127.0.0.11', '127.0.0.12', '127.0.0.13'] as const

/** Starts a registry in Local mode at each of `hosts`; they end with the test. */
export async function startReplicas(t: Test, options: ReplicaOptions): Promise<readonly [Replica, Replica, Replica]> {
  const start = (host: string) => startReplica(t, host, options)
  return await Promise.all([start(hosts[0]), start(hosts[1]), start(hosts[2])])
}

async function startReplica(t: Test, host: string, options: ReplicaOptions): Promise<Replica> {
  const folder = join(options.folder, host)
  await mkdir(folder)
  for (const image of options.images ?? []) await plant(join(folder, 'root'), image)
  const sections = { ...(options.pki ? { auth: await usersSection(folder) } : {}), ...options.sections }
  const tls = options.pki ? { tls: { certificate: options.pki.certificate, key: options.pki.key } } : {}
  const launch = (port: string) => startServer(t, { folder, sections, server: { listen: `${host}:${port}`, names: [namespace], ...tls } })
  let server: Server = await launch('0')
  const { address, root } = server
  return {
    host,
    address,
    root,
    log: () => server.log(),
    kill: () => server.kill(),
    stop: () => server.stop(),
    freeze: () => void process.kill(server.pid, 'SIGSTOP'),
    thaw: () => void process.kill(server.pid, 'SIGCONT'),
    start: async () => {
      server = await launch(address.slice(host.length + 1))
    }
  }
}

/** The section `auth` for the users `ro` and `rw`. */
export async function usersSection(folder: string) {
  const roles = Object.fromEntries(Object.entries(users).map(([user, { rights }]) => [user, rights]))
  return { users: { file: await writeHtpasswd(folder, users), roles } }
}
