import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

// Bytes of one read.
const readBytes = 256 * 1024

/** The spool cannot reserve the bytes of a file that stays to its end. `EDQUOT`, since its limit is a quota. */
export class SpoolFullError extends Error {
  readonly code = 'EDQUOT'

  constructor(bytes: number, limit: number) {
    super(`storage.s3.spoolBytes allows ${limit} bytes, and ${bytes} more are too many at present`)
  }
}

/**
 * Local files whose bytes wait for the bucket. They are unlinked at once, so that a process that dies leaves nothing.
 */
export class Spool {
  readonly #directory: string
  readonly #limit: number
  #used = 0

  private constructor(directory: string, limit: number) {
    this.#directory = directory
    this.#limit = limit
  }

  /** Opens a spool of at most `limit` bytes in `directory`, which is created. */
  static async open(directory: string, limit: number): Promise<Spool> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    // Left by a process that died between creating and unlinking; a living one has unlinked its files.
    for (const name of await readdir(directory))
      if (/^[0-9a-f-]{36}\.spool$/.test(name)) await unlink(join(directory, name)).catch(() => {})
    return new Spool(directory, limit)
  }

  /** Bytes that are reserved. */
  get used(): number {
    return this.#used
  }

  async create(): Promise<SpoolFile> {
    const path = join(this.#directory, `${randomUUID()}.spool`)
    const handle = await open(path, 'wx+', 0o600)
    await unlink(path).catch(() => {})
    return new SpoolFile(handle)
  }

  /** Reserves so many bytes; throws a SpoolFullError. */
  reserve(bytes: number): void {
    if (!this.fits(bytes)) throw new SpoolFullError(bytes, this.#limit)
    this.#used += bytes
  }

  /** Whether so many bytes can be reserved. */
  fits(bytes: number): boolean {
    return this.#used + bytes <= this.#limit
  }

  /** Reserves so many bytes even beyond the limit. */
  reserveOverLimit(bytes: number): void {
    this.#used += bytes
  }

  /** Gives back reserved bytes. */
  release(bytes: number): void {
    this.#used -= bytes
  }
}

/** An unlinked file. */
export class SpoolFile {
  readonly #handle: FileHandle
  #size = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  get size(): number {
    return this.#size
  }

  /** Appends all of the chunks. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    let rest = [...chunks]
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest, this.#size)
      this.#size += bytesWritten
      rest = after(rest, bytesWritten)
    }
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size)
    this.#size = size
  }

  async read(into: Buffer, position: number): Promise<number> {
    if (position >= this.#size) return 0
    return (await this.#handle.read(into, 0, Math.min(into.length, this.#size - position), position)).bytesRead
  }

  /** The bytes from `start` up to, not including, `end`. */
  stream(start: number, end: number): Readable {
    let position = start
    const handle = this.#handle
    // A stream of the handle would close the handle when it is destroyed.
    return new Readable({
      highWaterMark: readBytes,
      read() {
        const length = Math.min(readBytes, end - position)
        if (length === 0) return void this.push(null)
        handle.read(Buffer.allocUnsafe(length), 0, length, position).then(
          ({ bytesRead, buffer }) => {
            position += bytesRead
            if (bytesRead === 0) this.destroy(new Error('a spool file was truncated'))
            else this.push(buffer.subarray(0, bytesRead))
          },
          error => this.destroy(error)
        )
      }
    })
  }

  /** Closes the file, which frees its bytes. */
  async close(): Promise<void> {
    await this.#handle.close()
  }
}

function after(chunks: Uint8Array[], written: number): Uint8Array[] {
  let skip = written
  const rest: Uint8Array[] = []
  for (const chunk of chunks) {
    if (skip < chunk.length) rest.push(chunk.subarray(skip))
    skip = Math.max(0, skip - chunk.length)
  }
  return rest
}
