/** Where an object lies: path components joined by `/`, without `.`, `..` or empty ones. */
export type Key = string

/** Which bytes a reader is going to ask for, so that a driver may fetch just those; positions are inclusive. */
export type ByteRange = { first: number; last?: number } | { suffix: number }

/** An object that is open for reading. Whoever opened it closes it. */
export interface OpenObject {
  /** Bytes of the whole object. */
  readonly size: number
  /** When it was published or last touched, in ms since the epoch. */
  readonly modified: number
  /** Open objects with the same one have the same bytes; absent where nothing is known of that. */
  readonly identity?: string
  /**
   * Reads at most `into.length` bytes at `position`; 0 is the end. After a rejection with the code `ESTALLED` and `underway`, `into` may be written to at any time and must
   * never be used again.
   */
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/** What `stat` tells of an object. */
export interface ObjectStat {
  key: Key
  size: number
  modified: number
}

/** A name found by `walk`: an object, or a prefix under which there are more. */
export interface WalkEntry {
  key: Key
  /** The last component of the key. */
  name: string
  kind: 'object' | 'prefix'
}

/** Space of the medium in bytes, and in inodes where it has them. */
export interface VolumeSpace {
  free: number
  total: number
  inodesFree: number
  inodesTotal: number
}

/**
 * Space of the medium, what the objects take of it, and what they may take. A medium that does not answer is as it was when it last did. A medium without an end has no
 * space to tell of.
 */
export interface Usage extends Partial<VolumeSpace> {
  /** Bytes of objects; absent where nobody has counted them yet. */
  used?: number
  /** Files and directories, or objects where there are no others. */
  usedInodes?: number
  /** Whether these are the truth: after a crash they are too high for a while, and where others write too they are as of the last count. */
  exact: boolean
  /** Absent: no limit. */
  budget?: number
  inodeBudget?: number
  /** What is to stay free on the medium. */
  reserve: number
  inodeReserve: number
  /** What the medium does not answer. */
  stalled: readonly ('reads' | 'writes')[]
}

/** Why something does not fit. */
export interface Shortage {
  limit: 'storage.budget' | 'storage.reserve' | 'storage.inodeBudget' | 'storage.inodeReserve' | 'disk'
  /** Bytes or inodes. */
  needed: number
  /** How many of them are too many. */
  excess: number
  /** For people, with the figures. */
  reason: string
}

/**
 * An object that is being written, in order. Nothing of it is durable before `publish` resolves. A failed write or fsync, of which a later call may tell, leaves it fit only for `discard`:
 * after a failed fsync the kernel may have dropped the pages, so trying again would report success for bytes that are lost.
 */
export interface Writer {
  /** What it is resumed by; no object can be read under it. */
  readonly key: Key
  /** Bytes written so far. */
  readonly offset: number
  /** Appends the chunks, gathered into as few calls as possible. `signal` ends waiting where writing is limited; what was given is written all the same. */
  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void>
  /** Cuts the object back to `offset` bytes. */
  truncate(offset: number): Promise<void>
  /** Reads what was written, from the start. */
  read(into: Buffer, position: number): Promise<number>
  /**
   * Names the bytes before `offset` as they are stored: a later writer that gives the same name, in whatever process, has the same bytes there, and is going to publish
   * them. Undefined where that cannot be told.
   */
  fingerprint(offset: number): string | undefined
  /** Durable under `to` when it resolves: the bytes, the rename, and every directory that is new. What is there is replaced. */
  publish(to: Key): Promise<void>
  /** Ends the writer and removes what it wrote. */
  discard(): Promise<void>
  /** Ends the writer and leaves what it wrote, for `resume`; after a rejection that may not be relied on, and only `discard` is left. */
  close(): Promise<void>
}

/** A writer whose bytes can be read while they are written, and which is not resumed. */
export interface StagedWriter extends Writer {
  /** What was written so far. It goes on giving the bytes when the writer has ended, until it is closed. */
  readonly reader: Pick<OpenObject, 'readInto' | 'close'>
}

/** A small object, and what tells whether it is still the same. */
export interface VersionedObject {
  bytes: Buffer
  version: string
  /** In ms since the epoch, by the clock of the medium. */
  modified: number
}

/** How processes that have the same store come to agree. */
export interface ConditionalObjects {
  /** Whether `replace` is one step. Where the medium knows no conditions it looks and then puts: two at once may both succeed, and what the later one put is there. */
  isReplaceAtomic(): Promise<boolean>
  /** The time by the clock that tells those of objects, and never ahead of it, in ms since the epoch. */
  now(): Promise<number>
  get(key: Key): Promise<VersionedObject | undefined>
  /** Puts where the object still has `version`, or without one where there is none; resolves to its version from then on, undefined if it is another. */
  replace(key: Key, bytes: Uint8Array, version?: string): Promise<string | undefined>
}

/** What is known of an object that is going to be written. */
export interface CreateOptions {
  /** An earlier writer left nothing, so that nobody has to look. */
  earlier?: 'nothing'
  /** It is published under this key, and not resumed: what is written may go straight there, and `read` and `truncate` know no more of it than nothing and all. */
  publishTo?: Key
}

/** How an object is put: durable when that resolves, or as soon as the medium likes. */
export type Durability = 'durable' | 'soon'

/**
 * Bytes by key. Errors of the medium carry the `code` of the system call that failed (`ENOSPC`, `EROFS`, `EIO`, …), a limit that is reached is `EDQUOT`, a medium that
 * does not answer in time is `ESTALLED`; what is not there is undefined.
 * The suite in `test/storage/contract.ts` is what a driver has to pass.
 */
export interface Storage {
  /** Whether objects change only through this, or other processes may change them too. */
  readonly sharing: 'alone' | 'shared'
  /** Present where the store is shared. */
  readonly conditionalObjects?: ConditionalObjects
  /** The time by the clock that tells those of objects, as far as it is known, in ms since the epoch; absent where that is ours. */
  now?(): number
  open(key: Key, range?: ByteRange): Promise<OpenObject | undefined>
  stat(key: Key): Promise<ObjectStat | undefined>
  /** A small object, whole. An object of more than `limit` bytes is an error with the code `EFBIG`. */
  get(key: Key, limit?: number): Promise<Buffer | undefined>
  /** Replaces what is there, whole and at once. With `soon` a crash may leave anything of it. */
  put(key: Key, bytes: Uint8Array, promise?: Durability): Promise<void>
  /** Makes `prefix` visible to those who look for it, where the medium has such a thing. */
  ensurePrefix(prefix: Key): Promise<void>
  /** A new object that can be resumed by `key`; what an earlier writer of it left is dropped. Nothing is put under such a key. */
  create(key: Key, known?: CreateOptions): Promise<Writer>
  /** Goes on where a writer of `key` was closed or its process died. One to which nothing was written may be forgotten. */
  resume(key: Key): Promise<Writer | undefined>
  /** What `resume` would go on with. */
  statUnfinished(key: Key): Promise<ObjectStat | undefined>
  /** A new object that is going to be published under `to`, and under nothing else; `size` is how large it will be, if that is known. */
  stage(to: Key, size?: number): Promise<StagedWriter>
  /** Durably gives the object under `from` the key `to`, replacing what is there; false if there is none. It may count as new. */
  move(from: Key, to: Key): Promise<boolean>
  /** Names directly under `prefix` in byte order, those after `after` only. */
  walk(prefix: Key, after?: string): AsyncIterable<WalkEntry>
  /** All objects below `prefix` at any depth, in byte order of their whole keys, those after `after` only. */
  list(prefix: Key, after?: Key): AsyncIterable<ObjectStat>
  /** Rejects unless the medium answers. */
  check(): Promise<void>
  /** Rejects unless the medium takes bytes: tried for real, since free space is no promise. */
  checkWritable(): Promise<void>
  /** Where whoever has no other right may read the object for `seconds`; absent where there is no such place. */
  locate?(key: Key, seconds: number): Promise<string>
  /** Renews the time of objects; those that are not there are passed over. */
  touch(keys: readonly Key[]): Promise<void>
  /**
   * Removes objects, durably, and the prefixes below `under` that became empty. Removing what is not there succeeds. A store that is shared asks for nothing any more once
   * `signal` is aborted.
   */
  remove(keys: readonly Key[], under?: Key, signal?: AbortSignal): Promise<void>
  usage(): Promise<Usage>
  /** What is in the way of an object of so many bytes; undefined if it fits. Small objects are taken beyond the limits, so that what has begun can end. */
  shortage(bytes: number): Promise<Shortage | undefined>
  /** Counts anew what the objects take. */
  recount(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}
