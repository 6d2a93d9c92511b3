/** Where an object lies: path components joined by `/`, without `.`, `..` or empty ones. */
export type Key = string

/** The bytes that will be read, so that a driver may fetch just those; positions are inclusive. */
export type ByteRange = { first: number; last?: number } | { suffix: number }

/** An object open for reading. The caller of `open` closes it. */
export interface OpenObject {
  /** Bytes of the whole object. */
  readonly size: number
  /** When it was published or last touched, in ms since the epoch. */
  readonly modified: number
  /** Open objects with equal identities have the same bytes; absent where the driver cannot tell. */
  readonly identity?: string
  /**
   * Reads at most `into.length` bytes at `position`; 0 is the end. After a rejection with the code `ESTALLED` and
   * `underway`, the kernel may still write to `into` at any time: never use that buffer again.
   */
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/** Size and time of an object. */
export interface ObjectStat {
  key: Key
  size: number
  /** In ms since the epoch. */
  modified: number
}

/** A name found by `walk`: an object, or a prefix that has more below it. */
export interface WalkEntry {
  key: Key
  /** The last component of the key. */
  name: string
  kind: 'object' | 'prefix'
}

/** Space of the volume in bytes, and in inodes where it has them. */
export interface VolumeSpace {
  free: number
  total: number
  inodesFree: number
  inodesTotal: number
}

/**
 * Space of the volume, what the objects use of it, and what they may use. While the volume does not answer, its last
 * answer counts. Storage without an end (a bucket) reports no space.
 */
export interface Usage extends Partial<VolumeSpace> {
  /** Bytes of objects; absent before the first count. */
  used?: number
  /** Files and directories; in a bucket, objects. */
  usedInodes?: number
  /**
   * Whether the counts are exact. After a crash they are too high for a while; with other writers, as of the last
   * count.
   */
  exact: boolean
  /** Bytes that the objects may use. Absent: no limit. */
  budget?: number
  inodeBudget?: number
  /** Bytes that stay free on the volume. */
  reserve: number
  inodeReserve: number
  /** The kinds of calls that the storage does not answer. */
  stalled: readonly ('reads' | 'writes')[]
}

/** Why an object does not fit. */
export interface Shortage {
  limit: 'storage.budget' | 'storage.reserve' | 'storage.inodeBudget' | 'storage.inodeReserve' | 'disk'
  /** The unit of `needed` and `excess`. */
  unit: 'bytes' | 'inodes'
  needed: number
  /** By how much the limit would be exceeded. */
  excess: number
  /** For people, with the figures. */
  reason: string
}

/**
 * An object that is written in order. Nothing of it is durable before `publish` resolves. After a failed write or
 * fsync, which a later call may report, only `discard` is left: the kernel may have dropped the pages of a failed
 * fsync, so a retry would report success for bytes that are lost.
 */
export interface Writer {
  /** The key for `resume`; no object can be read under it. */
  readonly key: Key
  /** Bytes written so far. */
  readonly offset: number
  /**
   * Appends the chunks, gathered into as few calls as possible. `signal` ends the wait for the rate limit; the chunks
   * are written all the same.
   */
  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void>
  /** Cuts the object back to `offset` bytes. */
  truncate(offset: number): Promise<void>
  /** Reads at most `into.length` of the written bytes at `position`; 0 is the end. */
  read(into: Buffer, position: number): Promise<number>
  /**
   * Identifies the stored bytes before `offset`. A later writer of the same key with the same fingerprint, in any
   * process, has the same bytes there and publishes them. Undefined where the driver cannot tell.
   */
  fingerprint(offset: number): string | undefined
  /** Durable under `to` when it resolves: the bytes, the rename, and every new directory. Replaces what is there. */
  publish(to: Key): Promise<void>
  /** Ends the writer and removes its bytes. */
  discard(): Promise<void>
  /**
   * Ends the writer and keeps its bytes for `resume`. After a rejection they may be lost, and only `discard` is left.
   */
  close(): Promise<void>
}

/** A writer whose bytes can be read while they are written. It cannot be resumed. */
export interface StagedWriter extends Writer {
  /** Reads what is written so far. Outlives the writer until it is closed. */
  readonly reader: Pick<OpenObject, 'readInto' | 'close'>
}

/** A small object with its version. */
export interface VersionedObject {
  bytes: Buffer
  /** Changes with every put. */
  version: string
  /** In ms since the epoch, by the clock of the storage. */
  modified: number
}

/** Conditional puts, by which processes that share the storage coordinate. */
export interface ConditionalObjects {
  /**
   * Whether `replace` is one atomic step. Where the storage has no conditional puts it is a read and then a put: two at
   * once may both succeed, and the later put stays.
   */
  isReplaceAtomic(): Promise<boolean>
  /** The time by the clock of the storage, and never ahead of it, in ms since the epoch. */
  now(): Promise<number>
  get(key: Key): Promise<VersionedObject | undefined>
  /**
   * Puts `bytes` if the object still has `version`, or if there is none when `version` is absent. Resolves to the new
   * version; undefined if the condition did not hold.
   */
  replace(key: Key, bytes: Uint8Array, version?: string): Promise<string | undefined>
}

/** What is known beforehand of an object that will be written. */
export interface CreateOptions {
  /** No earlier writer of this key left anything, so there is no need to look. */
  earlier?: 'nothing'
  /**
   * The object will be published under this key and not resumed. The bytes may go straight there; `read` and `truncate`
   * then work for none or all of them only.
   */
  publishTo?: Key
}

/** When a put resolves: once the object is durable, or as soon as the storage has taken it. */
export type Durability = 'durable' | 'soon'

/**
 * Bytes by key. I/O errors carry the `code` of the system call that failed (`ENOSPC`, `EROFS`, `EIO`, …); an exceeded
 * limit is `EDQUOT`, storage that does not answer in time is `ESTALLED`. What is not there is undefined.
 * Every driver passes the suite in `test/storage/contract.ts`.
 */
export interface Storage {
  /** Whether this process alone changes the objects, or other processes may too. */
  readonly sharing: 'alone' | 'shared'
  /** What staged objects may have together, in bytes; absent where only the limits of the storage count. */
  readonly stagingBytes?: number
  /** Present where the storage is shared. */
  readonly conditionalObjects?: ConditionalObjects
  /** The best known time of the clock that dates objects, in ms since the epoch; absent where that is the system's. */
  now?(): number
  open(key: Key, range?: ByteRange): Promise<OpenObject | undefined>
  stat(key: Key): Promise<ObjectStat | undefined>
  /** A small object, whole. An object of more than `limitBytes` is an error with the code `EFBIG`. */
  get(key: Key, limitBytes?: number): Promise<Buffer | undefined>
  /** Replaces the object atomically. With `soon`, a crash may leave any part of it. */
  put(key: Key, bytes: Uint8Array, durability?: Durability): Promise<void>
  /** Makes `prefix` visible to `walk`, where the storage has directories. */
  ensurePrefix(prefix: Key): Promise<void>
  /**
   * A new object that `resume` finds by `key`; drops what an earlier writer of it left. Never `put` under such a key.
   */
  create(key: Key, options?: CreateOptions): Promise<Writer>
  /** Continues where a writer of `key` was closed or its process died. A writer without bytes may be forgotten. */
  resume(key: Key): Promise<Writer | undefined>
  /** Size and time of what `resume` would continue. */
  statUnfinished(key: Key): Promise<ObjectStat | undefined>
  /** A new object that will be published under `to` and nowhere else, of `size` bytes if that is known. */
  stage(to: Key, size?: number): Promise<StagedWriter>
  /** Durably renames an object, replacing what is under `to`; false if there is none. It may be dated anew. */
  move(from: Key, to: Key): Promise<boolean>
  /** Names directly under `prefix` in byte order, only those after `after`. */
  walk(prefix: Key, after?: string): AsyncIterable<WalkEntry>
  /** All objects below `prefix` at any depth, in byte order of their whole keys, only those after `after`. */
  list(prefix: Key, after?: Key): AsyncIterable<ObjectStat>
  /** Rejects unless the storage answers. */
  check(): Promise<void>
  /** Rejects unless the storage takes bytes: it writes some, since free space is no promise. */
  checkWritable(): Promise<void>
  /** A URL that lets its holder read the object for `seconds`; absent where the storage has no such URLs. */
  locate?(key: Key, seconds: number): Promise<string>
  /** Renews the time of the objects that exist. */
  touch(keys: readonly Key[]): Promise<void>
  /**
   * Removes objects, durably, and the prefixes below `under` that became empty. Absent objects count as removed. Shared
   * storage sends no request after `signal` is aborted.
   */
  remove(keys: readonly Key[], under?: Key, signal?: AbortSignal): Promise<void>
  usage(): Promise<Usage>
  /**
   * The limit that an object of so many bytes would exceed; undefined if it fits. Small objects are written beyond the
   * limits, so that running work can end.
   */
  shortage(bytes: number): Promise<Shortage | undefined>
  /** Counts what the objects use from scratch. */
  recount(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}
