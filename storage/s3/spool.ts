import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

// Read at once for a request.
const piece = 256 * 1024

/** The spool has no room for a file that is kept to its end; `code` is that of a quota, which it is. */
export class SpoolFullError extends Error {
  readonly code = 'EDQUOT'

  constructor(bytes: number, limit: number) {
    super(`storage.s3.spoolBytes allows ${limit} bytes, and ${bytes} more are too many at the moment`)
  }
}

/** Local files in which bytes wait for the bucket. They have no names, so that nothing is left of a process that dies. */
export class Spool {
  readonly #directory: string
  readonly #limit: number
  #used = 0

  private constructor(directory: string, limit: number) {
    this.#directory = directory
    this.#limit = limit
  }

  /** In `directory`, which is made if need be; of at most `limit` bytes. */
  static async open(directory: string, limit: number): Promise<Spool> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    // A process may have died just between making a file and taking its name away. Another one's file has lost its name long since.
    for (const name of await readdir(directory))
      if (/^[0-9a-f-]{36}\.spool$/.test(name)) await unlink(join(directory, name)).catch(() => {})
    return new Spool(directory, limit)
  }

  /** Bytes that wait, or are promised. */
  get used(): number {
    return this.#used
  }

  async create(): Promise<SpoolFile> {
    const path = join(this.#directory, `${randomUUID()}.spool`)
    const handle = await open(path, 'wx+', 0o600)
    await unlink(path).catch(() => {})
    return new SpoolFile(handle)
  }

  /** Takes room for so many bytes, or throws. */
  reserve(bytes: number): void {
    if (!this.fits(bytes)) throw new SpoolFullError(bytes, this.#limit)
    this.#used += bytes
  }

  /** Whether there is room for so many bytes. */
  fits(bytes: number): boolean {
    return this.#used + bytes <= this.#limit
  }

  /** Takes room, whether or not there is any. */
  reserveOverLimit(bytes: number): void {
    this.#used += bytes
  }

  /** Gives room back. */
  release(bytes: number): void {
    this.#used -= bytes
  }
}

/** A file without a name. */
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

  /** The bytes from `start` up to `end`, which is not among them. */
  stream(start: number, end: number): Readable {
    let position = start
    const handle = this.#handle
    // A stream of the handle's own would close it when it is destroyed.
    return new Readable({
      highWaterMark: piece,
      read() {
        const length = Math.min(piece, end - position)
        if (length === 0) return void this.push(null)
        handle.read(Buffer.allocUnsafe(length), 0, length, position).then(
          ({ bytesRead, buffer }) => {
            position += bytesRead
            if (bytesRead === 0) this.destroy(new Error('a file of the spool is shorter than it was'))
            else this.push(buffer.subarray(0, bytesRead))
          },
          error => this.destroy(error)
        )
      }
    })
  }

  /** The bytes go with it. */
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
