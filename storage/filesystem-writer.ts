import type { FileHandle } from 'node:fs/promises'
import { rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Directories } from './directories.ts'
import type { Key, Writer } from './storage.ts'

/** How a writer finds its way in the directory that it belongs to. */
export interface Place {
  directories: Directories
  path(key: Key): string
}

/** A file that grows. */
export class FilesystemWriter implements Writer {
  readonly key: Key
  readonly #place: Place
  readonly #handle: FileHandle
  #offset: number

  constructor(place: Place, key: Key, handle: FileHandle, offset: number) {
    this.#place = place
    this.key = key
    this.#handle = handle
    this.#offset = offset
  }

  get offset(): number {
    return this.#offset
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    let rest = chunks.filter(chunk => chunk.length > 0)
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest, this.#offset)
      this.#offset += bytesWritten
      rest = after(rest, bytesWritten)
    }
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
      await directories.limited(() => this.#handle.datasync())
    } finally {
      await this.#handle.close()
    }
    await renameDurably(directories, this.#place.path(this.key), target)
  }

  async discard(): Promise<void> {
    await this.close()
    await unlink(this.#place.path(this.key)).catch(ignoreAbsent)
  }

  async close(): Promise<void> {
    // Closed twice is closed.
    await this.#handle.close().catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EBADF') throw error
    })
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
    await directories.ensure(directory)
    try {
      await rename(from, to)
      await directories.sync(directory)
      return
    } catch (error) {
      // Somebody may have removed the empty directory between the two.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 3) throw error
      directories.forget(directory)
    }
  }
}

/** For removals: what is not there is removed. */
export function ignoreAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
}
