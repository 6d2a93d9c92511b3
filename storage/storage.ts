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
export interface Entry {
  key: Key
  /** The last component of the key. */
  name: string
  kind: 'object' | 'prefix'
}

/** Space of the medium in bytes, and in inodes where it has them. */
export interface Medium {
  free: number
  total: number
  inodesFree: number
  inodesTotal: number
}

/** Space of the medium, what the objects take of it, and what they may take. A medium that does not answer is as it was when it last did. */
export interface Usage extends Medium {
  /** Bytes of objects; never less than the truth. */
  used: number
  usedInodes: number
  /** Whether these are the truth: after a crash they are too high for a while. */
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
  readonly key: Key
  /** Bytes written so far. */
  readonly offset: number
  /** Appends the chunks, gathered into as few calls as possible. `signal` ends waiting where writing is limited; what was given is written all the same. */
  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void>
  /** Cuts the object back to `offset` bytes. */
  truncate(offset: number): Promise<void>
  /** Reads what was written, from the start. */
  read(into: Buffer, position: number): Promise<number>
  /** Durable under `to` when it resolves: the bytes, the rename, and every directory that is new. What is there is replaced. */
  publish(to: Key): Promise<void>
  /** Ends the writer and removes what it wrote. */
  discard(): Promise<void>
  /** Ends the writer and leaves what it wrote, for `resume`; after a rejection that may not be relied on, and only `discard` is left. */
  close(): Promise<void>
}

/**
 * Bytes by key. Errors of the medium carry the `code` of the system call that failed (`ENOSPC`, `EROFS`, `EIO`, …), a limit that is reached is `EDQUOT`, a medium that
 * does not answer in time is `ESTALLED`; what is not there is undefined.
 * The suite in `test/storage/contract.ts` is what a driver has to pass.
 */
export interface Storage {
  open(key: Key, range?: ByteRange): Promise<OpenObject | undefined>
  stat(key: Key): Promise<ObjectStat | undefined>
  /** A small object, whole. An object of more than `limit` bytes is an error with the code `EFBIG`. */
  get(key: Key, limit?: number): Promise<Buffer | undefined>
  /** Whole, atomic and durable when it resolves. What is there is replaced. */
  put(key: Key, bytes: Uint8Array): Promise<void>
  /** Makes `prefix` visible to those who look for it, where the medium has such a thing. */
  ensurePrefix(prefix: Key): Promise<void>
  /** A new object that is visible under `key` while it is written; an existing one is emptied. */
  create(key: Key): Promise<Writer>
  /** Goes on where a writer of `key` was closed or its process died. */
  resume(key: Key): Promise<Writer | undefined>
  /** Durably gives the object under `from` the key `to`, replacing what is there; false if there is none. */
  move(from: Key, to: Key): Promise<boolean>
  /** Names directly under `prefix` in byte order, those after `after` only. */
  walk(prefix: Key, after?: string): AsyncIterable<Entry>
  /** Rejects unless the medium answers. */
  check(): Promise<void>
  /** Renews the time of objects; those that are not there are passed over. */
  touch(keys: readonly Key[]): Promise<void>
  /** Removes objects, durably, and the prefixes below `under` that became empty. Removing what is not there succeeds. */
  remove(keys: readonly Key[], under?: Key): Promise<void>
  usage(): Promise<Usage>
  /** What is in the way of an object of so many bytes; undefined if it fits. Small objects are taken beyond the limits, so that what has begun can end. */
  shortage(bytes: number): Promise<Shortage | undefined>
  /** Counts anew what the objects take. */
  recount(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}
