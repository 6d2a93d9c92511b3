import type { Key, StagedWriter, Storage, Writer } from './storage.ts'

/** Reads a growing object at any position. */
export interface GrowingReader {
  /** The same for all readers of one object. */
  readonly identity: object
  /**
   * Resolves when there is something to read at `position`, or nothing more will come; undefined if that is so now.
   * Rejects as `readInto` does.
   */
  ready(position: number): Promise<void> | undefined
  readInto(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/**
 * An object that is read while it is written. Readers follow the writer through the storage and are woken by its
 * offset, so a slow reader costs the writer nothing and no memory. They see only what was released: bytes that are
 * written may still turn out to be wrong.
 */
export class GrowingObject {
  readonly #writer: StagedWriter
  #released = 0
  #state: 'growing' | 'complete' | Error = 'growing'
  #wake = Promise.withResolvers<void>()
  #readers = 0
  #writerEnded = false

  private constructor(writer: StagedWriter) {
    this.#writer = writer
  }

  /** A new object that will be published under `to`, of `size` bytes if that is known. */
  static async create(storage: Storage, to: Key, size?: number): Promise<GrowingObject> {
    return new GrowingObject(await storage.stage(to, size))
  }

  /** For publishing or discarding the object; write through `write`. */
  get writer(): Writer {
    return this.#writer
  }

  /** Bytes written. */
  get offset(): number {
    return this.#writer.offset
  }

  /** Appends the chunks; readers see them once they are released. */
  write(chunks: readonly Uint8Array[], signal?: AbortSignal): Promise<void> {
    return this.#writer.write(chunks, signal)
  }

  /** Lets readers have the bytes before `offset`. */
  release(offset: number): void {
    if (offset <= this.#released) return
    this.#released = offset
    this.#notify()
  }

  /** Releases all bytes and marks their end. */
  complete(): void {
    this.#released = this.#writer.offset
    this.#state = 'complete'
    this.#notify()
  }

  /** Readers get the error once they have read what was released. */
  fail(error: Error): void {
    if (this.#state !== 'growing') return
    // A reader takes ESTALLED to mean that the kernel still holds its buffer, which is not so here.
    const stalled = (error as NodeJS.ErrnoException).code === 'ESTALLED'
    this.#state = stalled ? Object.assign(new Error(error.message, { cause: error }), { code: 'EIO' }) : error
    this.#notify()
  }

  #notify(): void {
    const { resolve } = this.#wake
    this.#wake = Promise.withResolvers<void>()
    resolve()
  }

  /** Ends the writer's side. The storage is closed when the last reader has left. */
  async end(): Promise<void> {
    this.#writerEnded = true
    if (this.#readers === 0) await this.#writer.reader.close()
  }

  /** A reader with a position of its own, which waits for bytes that are not released yet. The caller closes it. */
  reader(signal: AbortSignal): GrowingReader {
    this.#readers++
    // One listener per reader: one per wait would cost more than the read.
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
        if (this.#writerEnded && this.#readers === 0) await this.#writer.reader.close()
      }
    }
  }

  // Resolves when there is something to read at `position`, or nothing more will come.
  async #until(position: number, signal: AbortSignal): Promise<void> {
    while (this.#released <= position && this.#state === 'growing') {
      signal.throwIfAborted()
      await this.#wake.promise
      signal.throwIfAborted()
    }
    if (this.#released <= position && this.#state instanceof Error) throw this.#state
  }
}
