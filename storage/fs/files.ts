import { constants } from 'node:fs'
import { type FileHandle, open, rename, rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createKeyedMutex } from '../keyed-mutex.ts'
import type { CountedDisk, Directories } from './directories.ts'
import type { DiskIo } from './disk-io.ts'
import type { UsageAmount, UsageCounter } from './usage-counter.ts'
import { fileSize } from './usage-file.ts'

const created = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL

/** Files that come and go, each counted. */
export class Files {
  readonly #disk: DiskIo
  readonly #counter: UsageCounter
  readonly #directories: Directories
  // Nobody else may take or give a name between a look at its size and the change.
  readonly #mutex = createKeyedMutex()

  constructor({ disk, counter }: CountedDisk, directories: Directories) {
    this.#disk = disk
    this.#counter = counter
    this.#directories = directories
  }

  /** An empty file for writing; the directories above it are made if need be. */
  async create(path: string): Promise<FileHandle> {
    try {
      return await this.#make(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await this.#directories.create(dirname(path))
      return this.#make(path)
    }
  }

  async #make(path: string): Promise<FileHandle> {
    const make = () => this.#disk.write(() => open(path, created, 0o644), closeLate)
    try {
      return await this.#counter.reserve({ bytes: 0, inodes: 1 }, make)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return this.#empty(path)
      throw error
    }
  }

  // In its turn: two who find the same bytes would both count them as gone.
  #empty(path: string): Promise<FileHandle> {
    const task = async () => {
      const handle = await open(path, 'r+')
      try {
        const { size } = await handle.stat()
        await handle.truncate(0)
        this.#counter.removed({ bytes: size, inodes: 0 })
        return handle
      } catch (error) {
        await handle.close()
        throw error
      }
    }
    return this.#mutex(path, () => this.#disk.write(task, closeLate))
  }

  /** A file that is there, for writing, and its size. */
  resume(path: string): Promise<{ handle: FileHandle; size: number }> {
    return this.#disk.write(
      async () => {
        const handle = await open(path, 'r+')
        try {
          return { handle, size: (await handle.stat()).size }
        } catch (error) {
          await handle.close()
          throw error
        }
      },
      ({ handle }) => handle.close()
    )
  }

  /** Gives a file of `amount` another name; what has that name goes. */
  rename(from: string, to: string, amount: UsageAmount): Promise<void> {
    const task = async () => {
      const replaced = await fileSize(to)
      await rename(from, to)
      if (replaced !== undefined) this.#counter.removed({ bytes: replaced, inodes: 1 })
    }
    return this.#mutex(to, () => this.#counter.reserve({ bytes: 0, inodes: 0 }, () => this.#disk.write(task), amount))
  }

  remove(path: string): Promise<void> {
    const task = async () => {
      const bytes = await fileSize(path)
      await unlink(path)
      this.#counter.removed({ bytes: bytes ?? 0, inodes: 1 })
    }
    return this.#mutex(path, () => this.#disk.write(task))
  }

  /** Removes an empty directory; resolves to whether it is still there. */
  async removeDirectory(path: string): Promise<boolean> {
    const task = async () => {
      await rmdir(path)
      this.#counter.removed({ bytes: 0, inodes: 1 })
      return false
    }
    return this.#disk.write(task).catch((error: NodeJS.ErrnoException) => error.code !== 'ENOENT')
  }
}

function closeLate(handle: FileHandle): Promise<void> {
  return handle.close()
}
