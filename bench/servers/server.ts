import type { Pki } from '../../test/e2e/pki.ts'
import type { Content } from '../content.ts'
import type { Process } from '../process.ts'

/** Where content comes from; `ca` is a file, and without it the upstream speaks plain HTTP. */
export interface Upstream {
  address: string
  ca?: string
}

/** What a server is to do: serve its store, fetch into its store, or pass through. */
export type Task =
  | { mode: 'Local'; root: string }
  | { mode: 'Proxy'; root: string; upstream: Upstream }
  | { mode: 'Direct'; upstream: Upstream }

/** A bucket in place of the root. */
export interface Bucket {
  endpoint: string
  bucket: string
  credentials: { accessKeyId: string; secretAccessKey: string }
}

/** Everything that a server is started with. */
export interface Setup {
  /** For its settings and its log; it exists. */
  folder: string
  task: Task
  /** Without it the server speaks plain HTTP. */
  pki?: Pki
  bucket?: Bucket
  /** The IPv4 address that it listens on, if another one than 127.0.0.1. */
  host?: string
  /** An htpasswd file, beside anonymous clients that may do everything. */
  users?: string
}

/** A server that answers. */
export interface Server extends Process, Upstream {
  readonly name: string
}

/** A program that can be compared. */
export interface Kind {
  readonly name: string
  readonly version: string
  readonly modes: readonly Task['mode'][]
  /** Whether it can be pushed to. */
  readonly writes: 'pushes' | 'nothing'
  start(setup: Setup): Promise<Server>
  /** Puts content below the root of a server, as hard links: every store is its own, the bytes and their page cache are shared. */
  plant(root: string, content: Content): Promise<void>
}
