import type { Key, StagedWriter } from '../storage.ts'
import { DirectUpload } from './multipart.ts'
import { settleAll, settleOrAbort } from './send.ts'
import type { SpoolFile } from './spool.ts'
import type { WriterContext } from './writer.ts'

// Sent side by side for one object; more would only wait for the same connection.
const maxConcurrentParts = 3

/**
 * An object whose key is known beforehand. All of it stays in the spool for those who read along, while its parts go straight to a multipart upload, of which nothing is
 * visible before the end.
 */
export class S3Staged implements StagedWriter {
  readonly key: Key
  readonly reader: StagedWriter['reader']
  readonly #context: WriterContext
  readonly #file: SpoolFile
  readonly #stop = new AbortController()
  /** Room in the spool: what was said to come, or as much as came. */
  #reservedBytes: number
  readonly #upload: DirectUpload
  readonly #sending = new Set<Promise<void>>()
  #sent = 0
  #parts = 0
  #failure: unknown
  #state: 'open' | 'published' | 'discarded' = 'open'
  #readable = true

  /** `room` bytes of the spool were taken for it. */
  constructor(place: WriterContext, to: Key, file: SpoolFile, room: number) {
    this.#context = place
    this.key = to
    this.#file = file
    this.#reservedBytes = room
    this.#upload = new DirectUpload(place.bucket, to)
    this.reader = { readInto: (into, position) => file.read(into, position), close: () => this.#closeReading() }
  }

  get offset(): number {
    return this.#file.size
  }

  get #partBytes(): number {
    return Math.max(this.#context.partBytes, Math.ceil(this.#sent / 1_000))
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
    // The last part may be short, so what is at hand now stays until more has come.
    while (this.#file.size - this.#sent > this.#partBytes) await this.#send(this.#sent + this.#partBytes)
  }

  async #send(end: number): Promise<void> {
    const start = this.#sent
    this.#sent = end
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
    // The source goes on at its own pace: what the service has not taken yet is in the spool.
    if (this.#sending.size > maxConcurrentParts * 4) await Promise.race(this.#sending)
  }

  async truncate(offset: number): Promise<void> {
    if (offset < this.#sent) throw new Error('what was sent cannot be cut back')
    await this.#file.truncate(offset)
  }

  read(into: Buffer, position: number): Promise<number> {
    return this.#file.read(into, position)
  }

  // It is never gone on with.
  fingerprint(): undefined {
    return undefined
  }

  async publish(to: Key): Promise<void> {
    if (to !== this.key) throw new Error(`staged for ${this.key}, and not for ${to}`)
    const { size } = this.#file
    await settleAll([...this.#sending])
    if (this.#failure !== undefined) throw this.#failure
    const last = size > this.#sent || this.#parts === 0 ? { file: this.#file, start: this.#sent, end: size } : undefined
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

  // The room is taken until writer and readers have ended.
  async #releaseSpool(): Promise<void> {
    if (this.#state === 'open' || this.#readable || this.#reservedBytes < 0) return
    this.#context.spool.release(this.#reservedBytes)
    this.#reservedBytes = -1
    await this.#file.close()
  }
}
