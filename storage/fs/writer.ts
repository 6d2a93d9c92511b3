import type { FileHandle } from 'node:fs/promises'
import { unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { RateShare } from '../rate-limiter.ts'
import type { Key, Writer } from '../storage.ts'
import type { CountedDisk, Directories } from './directories.ts'
import type { Files } from './files.ts'
import { StalledError } from './io-pool.ts'
import { PacedFile, type SyncPacer } from './sync-pacing.ts'
import type { UsageAmount } from './usage-counter.ts'

/** How a writer finds its way in the directory that it belongs to. */
export interface WriterContext extends CountedDisk {
  files: Files
  directories: Directories
  pacing: SyncPacer
  /** Where this file has to wait for its turn. */
  share?: RateShare | undefined
  /** What large objects have to stay within. */
  limits?: WriteLimits | undefined
  path(key: Key): string
}

/** Limits of what may be written. */
export interface WriteLimits {
  /** Learns how things stand; undefined if nobody has to wait for it. */
  refresh(): Promise<void> | undefined
  /** Throws if so many bytes more are too many. */
  assertFits(bytes: number): void
}

// Links and marks are written beyond the limits: what has begun can end, what is there can be deleted, and requests wait for them.
const small = 4096

/** A file that grows. */
export class FilesystemWriter implements Writer {
  readonly key: Key
  readonly #place: WriterContext
  readonly #handle: FileHandle
  readonly #paced: PacedFile
  #offset: number
  /** A call hangs; the handle is closed when it has returned. */
  #stuck = false

  constructor(place: WriterContext, key: Key, handle: FileHandle, offset: number) {
    this.#place = place
    this.key = key
    this.#handle = handle
    this.#offset = offset
    this.#paced = new PacedFile(place.pacing, offset, () => this.#datasync())
  }

  get offset(): number {
    return this.#offset
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    const bytes = lengthOf(rest)
    const { limits, share } = this.#place
    if (share) await this.#turn(share, bytes, signal)
    if (limits && this.#offset + bytes > small) {
      const looking = limits.refresh()
      if (looking) await looking
      // No pause between this and the count: writers together do not go beyond a limit.
      limits.assertFits(bytes)
    }
    while (rest.length > 0) {
      const before = this.#offset
      rest = await this.#writeSome(rest, lengthOf(rest))
      await this.#paced.wrote(this.#offset - before)
    }
  }

  async #turn(share: RateShare, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#offset + bytes <= small) return share.spend(bytes)
    // Whoever leaves keeps nobody waiting, and what he sent is kept.
    await share.take(bytes, signal).catch(() => share.spend(bytes))
  }

  async #writeSome(chunks: Uint8Array[], bytes: number): Promise<Uint8Array[]> {
    const { counter } = this.#place
    const write = () => this.#call(async () => (await this.#handle.writev(chunks, this.#offset)).bytesWritten)
    const written = await counter.reserve({ bytes, inodes: 0 }, write)
    this.#offset += written
    if (written === bytes) return []
    counter.removed({ bytes: bytes - written, inodes: 0 })
    return after(chunks, written)
  }

  async #call<T>(task: () => Promise<T>, run = (each: () => Promise<T>) => this.#place.disk.write(each)): Promise<T> {
    try {
      return await run(task)
    } catch (error) {
      if (error instanceof StalledError && error.underway) this.#stuck = true
      throw error
    }
  }

  async truncate(offset: number): Promise<void> {
    await this.#call(() => this.#handle.truncate(offset))
    this.#place.counter.removed({ bytes: this.#offset - offset, inodes: 0 })
    this.#offset = offset
  }

  read(into: Buffer, position: number): Promise<number> {
    return this.#call(async () => (await this.#handle.read(into, 0, into.length, position)).bytesRead)
  }

  // The directory belongs to this process, and what was written is not written again.
  fingerprint(offset: number): string | undefined {
    return offset <= this.#offset ? 'the same file' : undefined
  }

  async publish(to: Key): Promise<void> {
    try {
      await this.#paced.settled()
      // The last write may be long ago, and the age of an object counts from here. A file of another owner can be written, but not be dated.
      const now = new Date()
      await this.#call(() => this.#handle.utimes(now, now)).catch(() => {})
      await this.#datasync()
    } finally {
      await this.close()
    }
    await renameDurably(this.#place, this.#place.path(this.key), this.#place.path(to), { bytes: this.#offset, inodes: 1 })
  }

  #datasync(): Promise<void> {
    return this.#call(
      () => this.#handle.datasync(),
      sync => this.#place.directories.limitSync(sync)
    )
  }

  async discard(): Promise<void> {
    await this.#paced.settled().catch(() => {})
    await this.#end(async () => {
      await unlink(this.#place.path(this.key))
      this.#place.counter.removed({ bytes: this.#offset, inodes: 1 })
    })
  }

  async close(): Promise<void> {
    try {
      await this.#paced.settled()
    } finally {
      await this.#end(async () => {})
    }
  }

  #end(last: () => Promise<void>): Promise<void> {
    const end = async () => {
      // Closed twice is closed.
      await this.#handle.close().catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EBADF') throw error
      })
      await last().catch(ignoreAbsent)
    }
    if (!this.#stuck) return this.#place.disk.finish('writes', end)
    // Node closes a file when the calls that use it have returned.
    void end().catch(() => {})
    return Promise.resolve()
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  return bytes
}

// What is left of the chunks after `written` bytes: the kernel may take fewer than were offered.
function after(chunks: Uint8Array[], written: number): Uint8Array[] {
  let skip = written
  const rest: Uint8Array[] = []
  for (const chunk of chunks) {
    if (skip < chunk.length) rest.push(chunk.subarray(skip))
    skip = Math.max(0, skip - chunk.length)
  }
  return rest
}

/** Renames a synced file of `amount`, and makes its new name durable. */
export async function renameDurably(
  { directories, files }: Pick<WriterContext, 'directories' | 'files'>,
  from: string,
  to: string,
  amount: UsageAmount
): Promise<void> {
  const directory = dirname(to)
  for (let attempt = 0; ; attempt++) {
    try {
      await directories.ensure(directory)
      await files.rename(from, to, amount)
      break
    } catch (error) {
      // Somebody may have removed an empty directory, this one or one above it, after it was found to be there.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
      directories.forget(directory)
    }
  }
  // Absent: somebody removed the object already, and answers for that.
  await directories.sync(directory).catch(ignoreAbsent)
  // Or the directory is one that another writer made anew a moment ago.
  await directories.settled(directory).catch(ignoreAbsent)
}

const attempts = 10

/** For removals: what is not there is removed. A directory is no object, and nothing can lie under a name that the filesystem does not take. */
export function ignoreAbsent(error: NodeJS.ErrnoException): undefined {
  if (!absences.has(error.code)) throw error
}

const absences = new Set<string | undefined>(['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG'])
