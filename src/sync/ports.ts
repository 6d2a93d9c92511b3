import type { Clock } from '../../storage/clock.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import type { Entry, EntryKey, EntryKind } from './entry.ts'
import type { Question } from './messages.ts'

/** What this replica has done about an entry: nothing yet; the tree shows it; it is being forgotten. */
export type RowState = 'pending' | 'applied' | 'forgetting'

/** An entry as it is kept. */
export interface StoredRow {
  entry: Entry
  state: RowState
  /** When it came here, in ms since the epoch by the cluster clock. */
  since: number
  /** Values that it supersedes and that the tree may still show. */
  older: readonly Digest[]
}

/** What a table keeps besides its rows: small texts by name. */
export type Facts = Readonly<Record<string, string>>

/** Keeps the table of a replica. */
export interface TableStore {
  load(): Promise<{ rows: readonly StoredRow[]; facts: Facts }>
  /** All of it is durable when it resolves, all or nothing if the process dies. What is rejected is saved again. */
  save(change: { rows: readonly StoredRow[]; dropped: readonly EntryKey[]; facts: Facts }): Promise<void>
}

/** Asks peers. */
export interface Net {
  /** A peer's answer, as it came; rejects if there is none. It gives up once `signal` is aborted. */
  ask(peer: string, question: Question, signal: AbortSignal): Promise<unknown>
}

/** A key of the tree with what it shows. */
export interface ShownKey {
  kind: EntryKind
  name: Name
  key: string
  value: Digest
  /** When the tree was changed, in ms since the epoch. */
  modified: number
}

/** What a manifest needs below it. */
export interface Needs {
  blobs: readonly Digest[]
  /** Children of an index. One may turn out to be a blob. */
  manifests: readonly Digest[]
}

/** A manifest that was read, here or from a peer, and is not linked yet. */
export interface FetchedManifest {
  bytes: Uint8Array
  needs: Needs
}

/** Where content is copied from. `none`: every one of these peers said that it has none. */
export type Copied = 'copied' | 'none'

/**
 * The content of a replica, as its clients see it. Changes that are made here are not reported as local ones. They are
 * durable when they resolve.
 */
export interface SyncTree {
  /** What the tree shows under a key. */
  shown(kind: EntryKind, name: Name, key: string): Promise<Digest | undefined>
  /** Everything that was pushed. Changes meanwhile may be missing. */
  list(): AsyncIterable<ShownKey>
  /** Whether the repository has the blob, whole; it is safe from removal for a while. */
  hasBlob(name: Name, digest: Digest): Promise<boolean>
  /** Copies a blob from one of `peers` and links it. Rejects if none has it and one could not be asked. */
  copyBlob(name: Name, digest: Digest, peers: readonly string[], signal: AbortSignal): Promise<Copied>
  /**
   * A manifest that a peer shows, or that is stored here for another repository or an earlier attempt. Rejects as
   * `copyBlob`.
   */
  readManifest(name: Name, digest: Digest, peers: readonly string[], signal: AbortSignal): Promise<FetchedManifest | 'none'>
  /** Whether one of `peers` shows a manifest. Rejects as `copyBlob`. */
  isShownBy(name: Name, digest: Digest, peers: readonly string[], signal: AbortSignal): Promise<boolean>
  /**
   * Links a manifest if `wanted` holds at that moment; nothing else changes the repository between both. Resolves to
   * whether it did.
   */
  linkManifest(name: Name, digest: Digest, manifest: FetchedManifest, wanted: () => boolean): Promise<boolean>
  /** Lets a tag name a manifest that is linked; `wanted` as above. */
  setTag(name: Name, tag: string, digest: Digest, wanted: () => boolean): Promise<boolean>
  /** Removes what a key shows; `wanted` as above. */
  remove(kind: EntryKind, name: Name, key: string, wanted: () => boolean): Promise<boolean>
}

/** What a replica is made over; a test gives it a seed's clock, network and disk. */
export interface ReplicaDeps {
  clock: Clock
  net: Net
  store: TableStore
  tree: SyncTree
  /** A text that was never given before. */
  unique: () => string
  /** Something that an operator should know. */
  report: (event: SyncEvent) => void
}

/** What a replica reports. */
export type SyncEvent =
  | { kind: 'peer-reached' | 'peer-lost'; peer: string; reason?: string }
  | { kind: 'refused'; peer: string; reason: string }
  | { kind: 'forgotten'; entry: Entry; peer: string }
  | { kind: 'lost'; entry: Entry }
  | { kind: 'failed'; entry: Entry; attempts: number; reason: string }
  | { kind: 'clock'; peer: string; aheadMs: number }
