import type { FileHandle } from 'node:fs/promises'
import { unlink } from 'node:fs/promises'
import type { RateShare } from '../rate-limiter.ts'
import type { Key, Writer } from '../storage.ts'
import { ignoreAbsent } from './absent.ts'
import type { CountedDisk, Directories } from './directories.ts'
import type { Files } from './files.ts'
import { StalledError } from './io-pool.ts'
import { PacedFile, type SyncPacer } from './sync-pacing.ts'

/** What writers need of the storage that they belong to. */
export interface WriterContext extends CountedDisk {
  files: Files
  directories: Directories
  pacer: SyncPacer
  /** The rate limit of this file. */
  share?: RateShare | undefined
  /** Limits for large objects. */
  limits?: WriteLimits | undefined
  path(key: Key): string
}

/** Limits on what may be written. */
export interface WriteLimits {
  /** Updates what is known of the space; undefined if there is no need to wait. */
  refresh(): Promise<void> | undefined
  /** Throws if so many bytes more exceed a limit. */
  assertFits(bytes: number): void
}

// Links and provenance records are exempt from limits: running work can end, content can be deleted, and requests wait
// for them.
const exemptBytes = 4096

/** A file that is written in order. */
export class FilesystemWriter implements Writer {
  readonly key: Key
  readonly #context: WriterContext
  readonly #handle: FileHandle
  readonly #paced: PacedFile
  #offset: number
  /** A call hangs and uses the handle. */
  #stuck = false

  constructor(context: WriterContext, key: Key, handle: FileHandle, offset: number) {
    this.#context = context
    this.key = key
    this.#handle = handle
    this.#offset = offset
    this.#paced = new PacedFile(context.pacer, offset, () => this.#datasync())
  }

  get offset(): number {
    return this.#offset
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    const bytes = lengthOf(rest)
    const { limits, share } = this.#context
    if (share) await this.#awaitRate(share, bytes, signal)
    if (limits && this.#offset + bytes > exemptBytes) {
      const refreshing = limits.refresh()
      if (refreshing) await refreshing
      // No await between this and the count: concurrent writers cannot exceed a limit together.
      limits.assertFits(bytes)
    }
    while (rest.length > 0) {
      const before = this.#offset
      rest = await this.#writeSome(rest, lengthOf(rest))
      await this.#paced.wrote(this.#offset - before)
    }
  }

  async #awaitRate(share: RateShare, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#offset + bytes <= exemptBytes) return share.spend(bytes)
    // A client that leaves ends the wait, and what it sent is kept.
    await share.take(bytes, signal).catch(() => share.spend(bytes))
  }

  async #writeSome(chunks: Uint8Array[], bytes: number): Promise<Uint8Array[]> {
    const { counter } = this.#context
    const write = () => this.#call(async () => (await this.#handle.writev(chunks, this.#offset)).bytesWritten)
    const written = await counter.reserve({ bytes, inodes: 0 }, write)
    this.#offset += written
    if (written === bytes) return []
    counter.removed({ bytes: bytes - written, inodes: 0 })
    return after(chunks, written)
  }

  async #call<T>(task: () => Promise<T>, run = (each: () => Promise<T>) => this.#context.disk.write(each)): Promise<T> {
    try {
      return await run(task)
    } catch (error) {
      if (error instanceof StalledError && error.underway) this.#stuck = true
      throw error
    }
  }

  async truncate(offset: number): Promise<void> {
    await this.#call(() => this.#handle.truncate(offset))
    this.#context.counter.removed({ bytes: this.#offset - offset, inodes: 0 })
    this.#offset = offset
  }

  read(into: Buffer, position: number): Promise<number> {
    return this.#call(async () => (await this.#handle.read(into, 0, into.length, position)).bytesRead)
  }

  // The directory belongs to this process, and written bytes are not overwritten.
  fingerprint(offset: number): string | undefined {
    return offset <= this.#offset ? 'the same file' : undefined
  }

  async publish(to: Key): Promise<void> {
    try {
      await this.#paced.settled()
      // The age of an object counts from its publication. A file of another owner can be written, but not dated.
      const now = new Date()
      await this.#call(() => this.#handle.utimes(now, now)).catch(() => {})
      await this.#datasync()
    } finally {
      await this.close()
    }
    const { files, path } = this.#context
    await files.renameDurably(path(this.key), path(to), this.#offset)
  }

  #datasync(): Promise<void> {
    return this.#call(
      () => this.#handle.datasync(),
      sync => this.#context.directories.limitSync(sync)
    )
  }

  async discard(): Promise<void> {
    await this.#paced.settled().catch(() => {})
    await this.#end(async () => {
      await unlink(this.#context.path(this.key))
      this.#context.counter.removed({ bytes: this.#offset, inodes: 1 })
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
      // The handle may be closed already.
      await this.#handle.close().catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EBADF') throw error
      })
      await last().catch(ignoreAbsent)
    }
    if (!this.#stuck) return this.#context.disk.finish('writes', end)
    // Node closes the file once the call that uses it returns.
    void end().catch(() => {})
    return Promise.resolve()
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  return bytes
}

// The chunks without their first `written` bytes: the kernel may take fewer than were offered.
function after(chunks: Uint8Array[], written: number): Uint8Array[] {
  let skip = written
  const rest: Uint8Array[] = []
  for (const chunk of chunks) {
    if (skip < chunk.length) rest.push(chunk.subarray(skip))
    skip = Math.max(0, skip - chunk.length)
  }
  return rest
}
