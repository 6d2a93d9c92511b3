import type { FileHandle } from 'node:fs/promises'
import { rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Directories } from './directories.ts'
import { Paced, type Pacing } from './pacing.ts'
import type { Share } from './rate.ts'
import type { Key, Writer } from './storage.ts'

/** How a writer finds its way in the directory that it belongs to. */
export interface Place {
  directories: Directories
  pacing: Pacing
  /** Where this file has to wait for its turn. */
  share?: Share | undefined
  path(key: Key): string
}

// Marks and other small objects: they weigh nothing, and requests wait for them.
const small = 4096

/** A file that grows. */
export class FilesystemWriter implements Writer {
  readonly key: Key
  readonly #place: Place
  readonly #handle: FileHandle
  readonly #paced: Paced
  #offset: number

  constructor(place: Place, key: Key, handle: FileHandle, offset: number) {
    this.#place = place
    this.key = key
    this.#handle = handle
    this.#offset = offset
    this.#paced = new Paced(place.pacing, offset, () => this.#datasync())
  }

  get offset(): number {
    return this.#offset
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    if (this.#place.share) await this.#turn(this.#place.share, rest, signal)
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest, this.#offset)
      this.#offset += bytesWritten
      rest = after(rest, bytesWritten)
      await this.#paced.wrote(bytesWritten)
    }
  }

  async #turn(share: Share, chunks: readonly Uint8Array[], signal: AbortSignal | undefined): Promise<void> {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    if (this.#offset + bytes <= small) return share.spend(bytes)
    // Whoever leaves keeps nobody waiting, and what he sent is kept.
    await share.take(bytes, signal).catch(() => share.spend(bytes))
  }

  async truncate(offset: number): Promise<void> {
    await this.#handle.truncate(offset)
    this.#offset = offset
  }

  async read(into: Buffer, position: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead
  }

  async publish(to: Key): Promise<void> {
    const { directories } = this.#place
    const target = this.#place.path(to)
    try {
      await this.#paced.settled()
      // The last write may be long ago, and the age of an object counts from here. A file of another owner can be written, but not be dated.
      const now = new Date()
      await this.#handle.utimes(now, now).catch(() => {})
      await this.#datasync()
    } finally {
      await this.#handle.close()
    }
    await renameDurably(directories, this.#place.path(this.key), target)
  }

  async discard(): Promise<void> {
    await this.close().catch(() => {})
    await unlink(this.#place.path(this.key)).catch(ignoreAbsent)
  }

  async close(): Promise<void> {
    try {
      await this.#paced.settled()
    } finally {
      // Closed twice is closed.
      await this.#handle.close().catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EBADF') throw error
      })
    }
  }

  #datasync(): Promise<void> {
    return this.#place.directories.limited(() => this.#handle.datasync())
  }
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

/** Renames a synced file, and makes its new name durable. */
export async function renameDurably(directories: Directories, from: string, to: string): Promise<void> {
  const directory = dirname(to)
  for (let attempt = 0; ; attempt++) {
    try {
      await directories.ensure(directory)
      await rename(from, to)
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
