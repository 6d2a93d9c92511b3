import { constants } from 'node:fs'
import { type FileHandle, open, rename, rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createKeyedMutex } from '../keyed-mutex.ts'
import { ownModes } from '../layout.ts'
import { ignoreAbsent } from './absent.ts'
import type { CountedDisk, Directories } from './directories.ts'
import type { DiskIo } from './disk-io.ts'
import type { UsageAmount, UsageCounter } from './usage-counter.ts'
import { fileSize } from './usage-file.ts'

const createFlags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL
/** How often a path is created again whose directory was removed in between. */
export const createAttempts = 10

/** Creates, renames and removes files, and counts them. */
export class Files {
  readonly #disk: DiskIo
  readonly #counter: UsageCounter
  readonly #directories: Directories
  // By path: between reading a file's size and changing the file no other change of that path may run.
  readonly #mutex = createKeyedMutex()

  constructor({ disk, counter }: CountedDisk, directories: Directories) {
    this.#disk = disk
    this.#counter = counter
    this.#directories = directories
  }

  /** An empty file for writing; creates the directories above it if need be. */
  async create(path: string): Promise<FileHandle> {
    try {
      return await this.#create(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await this.#directories.create(dirname(path))
      return this.#create(path)
    }
  }

  async #create(path: string): Promise<FileHandle> {
    const create = () => this.#disk.write(() => open(path, createFlags, ownModes.file), closeLate)
    try {
      return await this.#counter.reserve({ bytes: 0, inodes: 1 }, create)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return this.#empty(path)
      throw error
    }
  }

  // Under the mutex: two at once would both count the same bytes as removed.
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

  /** An existing file for writing, and its size. */
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

  #rename(from: string, to: string, amount: UsageAmount): Promise<void> {
    const task = async () => {
      const replaced = await fileSize(to)
      await rename(from, to)
      if (replaced !== undefined) this.#counter.removed({ bytes: replaced, inodes: 1 })
    }
    return this.#mutex(to, () => this.#counter.reserve({ bytes: 0, inodes: 0 }, () => this.#disk.write(task), amount))
  }

  /** Renames a synced file of `bytes`, replacing what is at `to`, and makes the new name durable. */
  async renameDurably(from: string, to: string, bytes: number): Promise<void> {
    const directory = dirname(to)
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#directories.ensure(directory)
        await this.#rename(from, to, { bytes, inodes: 1 })
        break
      } catch (error) {
        // A concurrent remove may have pruned the empty directory, or one above it, after it was ensured.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === createAttempts) throw error
        this.#directories.forget(directory)
      }
    }
    // Absent: a concurrent remove took the object away already, and makes that durable.
    await this.#directories.sync(directory).catch(ignoreAbsent)
    // Another writer may be creating the directory anew.
    await this.#directories.settled(directory).catch(ignoreAbsent)
  }

  remove(path: string): Promise<void> {
    const task = async () => {
      const bytes = await fileSize(path)
      await unlink(path)
      this.#counter.removed({ bytes: bytes ?? 0, inodes: 1 })
    }
    return this.#mutex(path, () => this.#disk.write(task))
  }

  /** Removes a directory if it is empty; resolves to whether it still exists. */
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
