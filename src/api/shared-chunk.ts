import type { Body } from '../oci/source.ts'
import type { Buffers } from './buffers.ts'

/** Bytes of a body, on loan from the pool. Others may look at them as well; they change only after all have given them back. */
export interface Loan {
  readonly bytes: Buffer
  /** Of the buffer that they are in. */
  readonly held: number
  giveBack(): void
  /** Gives them back after a write that failed and may still look at them: the buffer is never used again. */
  spoil(): void
}

/** A buffer of the pool with bytes of one body. It goes back when nobody holds it any more; whoever makes it holds it. */
export class Block {
  readonly position: number
  /** Those who wait for its bytes; it never rejects. */
  loading: Promise<void> | undefined
  /** Whether what was read is what any reader of the body would get. */
  sound = false
  readonly #buffers: Buffers
  readonly #buffer: Buffer
  #length = 0
  #holders = 1
  #spoiled = false

  constructor(buffers: Buffers, buffer: Buffer, position: number) {
    this.#buffers = buffers
    this.#buffer = buffer
    this.position = position
  }

  /** Of the whole buffer. */
  get size(): number {
    return this.#buffer.length
  }

  /** Where its bytes end; while it is being read, where they would end at most. */
  get end(): number {
    return this.position + (this.loading ? this.size : this.#length)
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
      this.sound = body.identity === identity
    } catch (error) {
      // A disk that hangs may still write into it.
      if ((error as NodeJS.ErrnoException).code === 'ESTALLED') this.#spoiled = true
      throw error
    } finally {
      this.loading = undefined
    }
  }

  hold(): void {
    this.#holders++
  }

  letGo(): void {
    this.#holders--
    if (this.#holders > 0) return
    if (this.#spoiled) this.#buffers.drop(this.#buffer)
    else this.#buffers.give(this.#buffer)
  }

  /** At most `most` of its bytes from `position` on, with the hold that somebody has. */
  lend(position: number, most: number): Loan {
    const from = position - this.position
    return {
      bytes: this.#buffer.subarray(from, Math.min(from + most, this.#length)),
      held: this.size,
      giveBack: () => this.letGo(),
      spoil: () => {
        this.#spoiled = true
        this.letGo()
      }
    }
  }
}
