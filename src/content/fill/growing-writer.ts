import type { GrowingObject } from '../../../storage/growing-object.ts'

// Readers get all but this before the digest is verified: wrong bytes become a truncated response, never a complete
// one.
const heldBackBytes = 4096
// At most this is gathered for the next write, while one is under way.
const maxGatheredBytes = 1024 * 1024
// Less than this is written only if no more arrives within the coalescing delay.
const minWriteBytes = 256 * 1024
const coalesceMs = 5

/**
 * Gathers the next write while one is under way, and releases each to the readers when it is in the file. A write wakes
 * every reader, so that a small one waits for the coalescing delay.
 */
export class GrowingWriter {
  readonly #growing: GrowingObject
  readonly #size: number | undefined
  readonly #secure: (end: number) => Promise<void> | undefined
  readonly #signal: AbortSignal
  #chunks: Uint8Array[] = []
  #bytes = 0
  #minBytes = minWriteBytes
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #failure: unknown

  /** `secure` is called with the end of each write before it, and waited for. */
  constructor(
    growing: GrowingObject,
    { size, secure, signal }: { size: number | undefined; secure: (end: number) => Promise<void> | undefined; signal: AbortSignal }
  ) {
    this.#growing = growing
    this.#size = size
    this.#secure = secure
    this.#signal = signal
  }

  /** Takes a chunk; resolves when another one may come. Rejects with the error of an earlier write. */
  async push(chunk: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes >= minWriteBytes) this.#startWrite()
    else this.#scheduleWrite()
    if (this.#bytes >= maxGatheredBytes) await this.#writing
  }

  /** Resolves when all is written. */
  async drain(): Promise<void> {
    this.#minBytes = 1
    this.#startWrite()
    while (this.#writing) await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  #scheduleWrite(): void {
    this.#timer ??= setTimeout(() => this.#startWrite(), coalesceMs)
  }

  #startWrite(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#bytes > 0 && this.#failure === undefined) this.#writing ??= this.#write()
  }

  async #write(): Promise<void> {
    try {
      do {
        const chunks = this.#chunks
        const securing = this.#secure(this.#growing.offset + this.#bytes)
        this.#chunks = []
        this.#bytes = 0
        if (securing) await securing
        await this.#growing.write(chunks, this.#signal)
        const { offset } = this.#growing
        this.#growing.release(this.#size === undefined ? offset - heldBackBytes : Math.min(offset, this.#size - heldBackBytes))
      } while (this.#bytes >= this.#minBytes)
      if (this.#bytes > 0) this.#scheduleWrite()
    } catch (error) {
      this.#failure = error
    } finally {
      this.#writing = undefined
    }
  }
}
