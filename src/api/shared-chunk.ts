import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'

/** Bytes of a body, on loan from the pool. Others may look at them as well; they change only after all have given them back. */
export interface ChunkLease {
  readonly bytes: Buffer
  /** Of the buffer that they are in. */
  readonly bufferBytes: number
  release(): void
  /** Gives them back after a write that failed and may still look at them: the buffer is never used again. */
  poison(): void
}

/** A buffer of the pool with bytes of one body. It goes back when nobody holds it any more; whoever makes it holds it. */
export class SharedChunk {
  readonly position: number
  /** Those who wait for its bytes; it never rejects. */
  loading: Promise<void> | undefined
  /** Whether what was read is what any reader of the body would get. */
  valid = false
  readonly #buffers: BufferPool
  readonly #buffer: Buffer
  #length = 0
  #references = 1
  #poisoned = false

  constructor(buffers: BufferPool, buffer: Buffer, position: number) {
    this.#buffers = buffers
    this.#buffer = buffer
    this.position = position
  }

  /** Of the whole buffer. */
  get bufferBytes(): number {
    return this.#buffer.length
  }

  /** Where its bytes end; while it is being read, where they would end at most. */
  get end(): number {
    return this.position + (this.loading ? this.bufferBytes : this.#length)
  }

  /** Reads at most `most` bytes of `body`. */
  load(body: Body, most: number): Promise<void> {
    const reading = this.#load(body, most)
    this.loading = reading.catch(() => {})
    return reading
  }

  async #load(body: Body, most: number): Promise<void> {
    const { identity } = body
    try {
      this.#length = await body.readInto(this.#buffer.subarray(0, most), this.position)
      this.valid = body.identity === identity
    } catch (error) {
      // A disk that hangs may still write into it.
      if ((error as NodeJS.ErrnoException).code === 'ESTALLED') this.#poisoned = true
      throw error
    } finally {
      this.loading = undefined
    }
  }

  retain(): void {
    this.#references++
  }

  release(): void {
    this.#references--
    if (this.#references > 0) return
    if (this.#poisoned) this.#buffers.discard(this.#buffer)
    else this.#buffers.release(this.#buffer)
  }

  /** At most `most` of its bytes from `position` on, with the hold that somebody has. */
  lease(position: number, most: number): ChunkLease {
    const from = position - this.position
    return {
      bytes: this.#buffer.subarray(from, Math.min(from + most, this.#length)),
      bufferBytes: this.bufferBytes,
      release: () => this.release(),
      poison: () => {
        this.#poisoned = true
        this.release()
      }
    }
  }
}
