import type { Key, StagedWriter, Storage, Writer } from './storage.ts'

/** Reads an object that grows, at any position. */
export interface GrowingReader {
  /** All readers of the object have the same one. */
  readonly identity: object
  /** Resolves when there is something to read at `position`, or nothing more will come; undefined if there is now. Rejects as `readInto`. */
  ready(position: number): Promise<void> | undefined
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/**
 * An object that is read while it is written. Readers follow the file behind the writer and are woken by its offset, so a slow one costs the writer nothing and takes no
 * memory. They see no more than was released: what is written may still turn out to be wrong.
 */
export class GrowingObject {
  readonly #writer: StagedWriter
  #released = 0
  #state: 'growing' | 'complete' | Error = 'growing'
  #wake = Promise.withResolvers<void>()
  #readers = 0
  #written = false

  private constructor(writer: StagedWriter) {
    this.#writer = writer
  }

  /** A new object that is going to be published under `to`; `size` is how large it will be, if that is known. */
  static async create(storage: Storage, to: Key, size?: number): Promise<GrowingObject> {
    return new GrowingObject(await storage.stage(to, size))
  }

  /** For publishing under that name, or discarding; nothing is written through it any more. */
  get writer(): Writer {
    return this.#writer
  }

  /** Bytes written. */
  get offset(): number {
    return this.#writer.offset
  }

  /** Appends the chunks; readers see them when they are released. */
  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    return this.#writer.write(chunks, signal)
  }

  /** Lets readers have the bytes before `offset`. */
  release(offset: number): void {
    if (offset <= this.#released) return
    this.#released = offset
    this.#notify()
  }

  /** All bytes may be read, and there are no more. */
  complete(): void {
    this.#released = this.#writer.offset
    this.#state = 'complete'
    this.#notify()
  }

  /** Readers get the error as soon as they have read what was released. */
  fail(error: Error): void {
    if (this.#state !== 'growing') return
    // To readers a call that hangs would mean that the disk holds their memory.
    const hangs = (error as NodeJS.ErrnoException).code === 'ESTALLED'
    this.#state = hangs ? Object.assign(new Error(error.message, { cause: error }), { code: 'EIO' }) : error
    this.#notify()
  }

  #notify(): void {
    const { resolve } = this.#wake
    this.#wake = Promise.withResolvers<void>()
    resolve()
  }

  /** The writer's side is over; the file is closed when the last reader has left. */
  async end(): Promise<void> {
    this.#written = true
    if (this.#readers === 0) await this.#writer.reader.close()
  }

  /** A reader of its own, which waits for bytes that are not there yet. Whoever asks closes it. */
  reader(signal: AbortSignal): GrowingReader {
    this.#readers++
    // One listener for all that it waits for: a signal in each wait would cost more than the read.
    const onAbort = () => this.#notify()
    signal.addEventListener('abort', onAbort, { once: true })
    let open = true
    return {
      identity: this,
      ready: position => (this.#released > position ? undefined : this.#until(position, signal)),
      readInto: async (into, position) => {
        await this.#until(position, signal)
        const length = Math.min(into.length, this.#released - position)
        return length > 0 ? await this.#writer.reader.readInto(into.subarray(0, length), position) : 0
      },
      close: async () => {
        if (!open) return
        open = false
        signal.removeEventListener('abort', onAbort)
        this.#readers--
        if (this.#written && this.#readers === 0) await this.#writer.reader.close()
      }
    }
  }

  // Resolves when there is something to read at `position`, or nothing more to come.
  async #until(position: number, signal: AbortSignal): Promise<void> {
    while (this.#released <= position && this.#state === 'growing') {
      signal.throwIfAborted()
      await this.#wake.promise
      signal.throwIfAborted()
    }
    if (this.#released <= position && this.#state instanceof Error) throw this.#state
  }
}
