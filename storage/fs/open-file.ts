import type { Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { OpenObject } from '../storage.ts'
import { ignoreAbsent } from './absent.ts'
import type { DiskIo } from './disk-io.ts'
import { StalledError } from './io-pool.ts'

/** A file open for reading. */
export class OpenFile implements OpenObject {
  readonly #disk: DiskIo
  readonly #handle: FileHandle
  readonly size: number
  readonly modified: number
  /** Device and inode: no other file gets this number while the file is open. */
  readonly identity: string
  /** A call hangs and uses the handle. */
  #stuck = false

  private constructor(disk: DiskIo, handle: FileHandle, { size, mtimeMs, dev, ino }: Stats) {
    this.#disk = disk
    this.#handle = handle
    this.size = size
    this.modified = mtimeMs
    this.identity = `${dev}:${ino}`
  }

  /** The file at `path`; undefined if there is none. */
  static open(disk: DiskIo, path: string): Promise<OpenFile | undefined> {
    return disk.read(
      () => OpenFile.#open(disk, path),
      late => late?.close()
    )
  }

  static async #open(disk: DiskIo, path: string): Promise<OpenFile | undefined> {
    const handle = await open(path, 'r').catch(ignoreAbsent)
    if (!handle) return undefined
    try {
      const found = await handle.stat()
      if (found.isFile()) return new OpenFile(disk, handle, found)
    } catch (error) {
      await handle.close()
      throw error
    }
    await handle.close()
    return undefined
  }

  async readInto(into: Buffer, position: number): Promise<number> {
    try {
      return (await this.#disk.read(() => this.#handle.read(into, 0, into.length, position))).bytesRead
    } catch (error) {
      if (error instanceof StalledError && error.underway) this.#stuck = true
      throw error
    }
  }

  close(): Promise<void> {
    const closed = this.#handle.close()
    if (!this.#stuck) return closed
    // Node closes the file once the call that uses it returns; the caller must not wait for that.
    closed.catch(() => {})
    return Promise.resolve()
  }
}
