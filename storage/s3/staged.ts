import type { Key, StagedWriter } from '../storage.ts'
import { DirectUpload } from './multipart.ts'
import { settleAll, settleOrAbort } from './send.ts'
import type { SpoolFile } from './spool.ts'
import type { S3WriterContext } from './writer.ts'

// More would not be faster over the same network.
const maxConcurrentParts = 3

/**
 * An object whose key is known beforehand. All of it stays in the spool for readers that follow it, while its parts go
 * straight to a multipart upload, of which nothing is visible before it is published.
 */
export class S3Staged implements StagedWriter {
  readonly key: Key
  readonly reader: StagedWriter['reader']
  readonly #context: S3WriterContext
  readonly #file: SpoolFile
  readonly #stop = new AbortController()
  /** Bytes reserved in the spool: the expected size, or the size so far if that is more. */
  #reservedBytes: number
  readonly #upload: DirectUpload
  readonly #sending = new Set<Promise<void>>()
  #sentBytes = 0
  #parts = 0
  #failure: unknown
  #state: 'open' | 'published' | 'discarded' = 'open'
  #readable = true

  /** `reservedBytes` of the spool were reserved for it. */
  constructor(context: S3WriterContext, to: Key, file: SpoolFile, reservedBytes: number) {
    this.#context = context
    this.key = to
    this.#file = file
    this.#reservedBytes = reservedBytes
    this.#upload = new DirectUpload(context.bucket, to)
    this.reader = { readInto: (into, position) => file.read(into, position), close: () => this.#closeReading() }
  }

  get offset(): number {
    return this.#file.size
  }

  get #partBytes(): number {
    return Math.max(this.#context.partBytes, Math.ceil(this.#sentBytes / 1_000))
  }

  async write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    let bytes = 0
    for (const chunk of chunks) bytes += chunk.length
    const { share, spool } = this.#context
    await share?.take(bytes, signal).catch(() => share.spend(bytes))
    const more = this.#file.size + bytes - this.#reservedBytes
    if (more > 0) {
      spool.reserve(more)
      this.#reservedBytes += more
    }
    try {
      await this.#file.write(chunks)
    } catch (error) {
      this.#failure = error
      throw error
    }
    // The last part may be short and is sent by `publish`, so bytes stay until more have arrived.
    while (this.#file.size - this.#sentBytes > this.#partBytes) await this.#send(this.#sentBytes + this.#partBytes)
  }

  async #send(end: number): Promise<void> {
    const start = this.#sentBytes
    this.#sentBytes = end
    const number = ++this.#parts
    const put = async () => {
      try {
        if (this.#failure !== undefined) throw this.#failure
        await this.#upload.put(number, { file: this.#file, start, end }, this.#stop.signal)
      } catch (error) {
        this.#failure ??= error
        throw error
      } finally {
        this.#sending.delete(done)
      }
    }
    const done: Promise<void> = Promise.resolve().then(() => this.#context.sendLimit(put))
    done.catch(() => {})
    this.#sending.add(done)
    // A fill does not wait for the bucket: bytes that the service has not received are in the spool.
    if (this.#sending.size > maxConcurrentParts * 4) await Promise.race(this.#sending)
  }

  async truncate(offset: number): Promise<void> {
    if (offset < this.#sentBytes) throw new Error('bytes that were sent cannot be truncated')
    await this.#file.truncate(offset)
  }

  read(into: Buffer, position: number): Promise<number> {
    return this.#file.read(into, position)
  }

  // A staged object is never resumed.
  fingerprint(): undefined {
    return undefined
  }

  async publish(to: Key): Promise<void> {
    if (to !== this.key) throw new Error(`staged for ${this.key}, not for ${to}`)
    const { size } = this.#file
    await settleAll([...this.#sending])
    if (this.#failure !== undefined) throw this.#failure
    const last = size > this.#sentBytes || this.#parts === 0 ? { file: this.#file, start: this.#sentBytes, end: size } : undefined
    await this.#upload.complete(this.#parts + 1, last, this.#stop.signal)
    this.#state = 'published'
    this.#context.onPublished(to, size)
    await this.#releaseSpool()
  }

  async discard(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'discarded'
    this.#failure ??= new Error(`${this.key} was discarded`)
    await settleOrAbort([...this.#sending], this.#stop)
    await this.#upload.abort()
    await this.#releaseSpool()
  }

  close(): Promise<void> {
    return this.discard()
  }

  async #closeReading(): Promise<void> {
    this.#readable = false
    await this.#releaseSpool()
  }

  // The bytes stay reserved until both the writer and the reader have ended.
  async #releaseSpool(): Promise<void> {
    if (this.#state === 'open' || this.#readable || this.#reservedBytes < 0) return
    this.#context.spool.release(this.#reservedBytes)
    this.#reservedBytes = -1
    await this.#file.close()
  }
}
