import { constants } from 'node:fs'
import { type FileHandle, open, rename, rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Turns } from '../keyed-mutex.ts'
import type { Directories, Ledger } from './directories.ts'
import type { Disk } from './disk.ts'
import type { Account, Amount } from './usage-counter.ts'
import { sizeOf } from './usage-file.ts'

const created = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL

/** Files that come and go, each counted. */
export class Files {
  readonly #disk: Disk
  readonly #account: Account
  readonly #directories: Directories
  // Nobody else may take or give a name between a look at its size and the change.
  readonly #turns = new Turns()

  constructor({ disk, account }: Ledger, directories: Directories) {
    this.#disk = disk
    this.#account = account
    this.#directories = directories
  }

  /** An empty file for writing; the directories above it are made if need be. */
  async create(path: string): Promise<FileHandle> {
    try {
      return await this.#make(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await this.#directories.make(dirname(path))
      return this.#make(path)
    }
  }

  async #make(path: string): Promise<FileHandle> {
    const make = () => this.#disk.write(() => open(path, created, 0o644), closeLate)
    try {
      return await this.#account.adding({ bytes: 0, inodes: 1 }, make)
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
        this.#account.removed({ bytes: size, inodes: 0 })
        return handle
      } catch (error) {
        await handle.close()
        throw error
      }
    }
    return this.#turns.run(path, () => this.#disk.write(task, closeLate))
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
  rename(from: string, to: string, amount: Amount): Promise<void> {
    const task = async () => {
      const replaced = await sizeOf(to)
      await rename(from, to)
      if (replaced !== undefined) this.#account.removed({ bytes: replaced, inodes: 1 })
    }
    return this.#turns.run(to, () => this.#account.adding({ bytes: 0, inodes: 0 }, () => this.#disk.write(task), amount))
  }

  remove(path: string): Promise<void> {
    const task = async () => {
      const bytes = await sizeOf(path)
      await unlink(path)
      this.#account.removed({ bytes: bytes ?? 0, inodes: 1 })
    }
    return this.#turns.run(path, () => this.#disk.write(task))
  }

  /** Removes an empty directory; resolves to whether it is still there. */
  async removeDirectory(path: string): Promise<boolean> {
    const task = async () => {
      await rmdir(path)
      this.#account.removed({ bytes: 0, inodes: 1 })
      return false
    }
    return this.#disk.write(task).catch((error: NodeJS.ErrnoException) => error.code !== 'ENOENT')
  }
}

function closeLate(handle: FileHandle): Promise<void> {
  return handle.close()
}
