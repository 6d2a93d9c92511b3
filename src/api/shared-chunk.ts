import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'

/** A right to read bytes of a shared chunk. The bytes do not change until every lease of the chunk is released. */
export interface ChunkLease {
  readonly bytes: Buffer
  /** The size of the whole buffer. */
  readonly bufferBytes: number
  release(): void
  /** Releases after a write that failed and may still read the bytes: the buffer is never used again. */
  poison(): void
}

/** A pooled buffer with bytes of one body. Created with one reference; returns to the pool with the last. */
export class SharedChunk {
  readonly position: number
  /** Resolves when the read has ended, also when it failed; undefined if no read is running. */
  loading: Promise<void> | undefined
  /** Whether every reader of the group would have read the same bytes. */
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

  /** The size of the whole buffer. */
  get bufferBytes(): number {
    return this.#buffer.length
  }

  /** The position after its last byte; while it is being read, the highest that is possible. */
  get end(): number {
    return this.position + (this.loading ? this.bufferBytes : this.#length)
  }

  /** Reads at most `maxBytes` of `body`. */
  load(body: Body, maxBytes: number): Promise<void> {
    const reading = this.#load(body, maxBytes)
    this.loading = reading.catch(() => {})
    return reading
  }

  async #load(body: Body, maxBytes: number): Promise<void> {
    const { identity } = body
    try {
      this.#length = await body.readInto(this.#buffer.subarray(0, maxBytes), this.position)
      // A body that changed its source during the read has bytes that others would not have read.
      this.valid = body.identity === identity
    } catch (error) {
      // A disk that does not respond may still write into the buffer.
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

  /** Leases at most `maxBytes` from `position` on. The lease takes over a reference of the caller. */
  lease(position: number, maxBytes: number): ChunkLease {
    const from = position - this.position
    return {
      bytes: this.#buffer.subarray(from, Math.min(from + maxBytes, this.#length)),
      bufferBytes: this.bufferBytes,
      release: () => this.release(),
      poison: () => {
        this.#poisoned = true
        this.release()
      }
    }
  }
}
