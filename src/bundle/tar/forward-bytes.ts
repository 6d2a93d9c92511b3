import type { PositionedBytes } from './entries.ts'

// More than a reader of headers reads ahead.
const keptBytes = 64 * 1024

/** A stream that is read by position, forward and a little back. Its size is not known. */
export class ForwardBytes implements PositionedBytes {
  readonly size = Number.POSITIVE_INFINITY
  readonly #chunks: AsyncIterator<Uint8Array>
  #kept = Buffer.alloc(0)
  #begin = 0
  #ended = false

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]()
  }

  async read(into: Buffer, position: number): Promise<number> {
    if (position < this.#begin) throw new RangeError(`byte ${position} of the stream has passed`)
    while (!this.#ended && this.#begin + this.#kept.length < position + into.length) await this.#pull(position)
    return this.#kept.copy(into, 0, position - this.#begin, position - this.#begin + into.length)
  }

  async #pull(position: number): Promise<void> {
    const { value, done } = await this.#chunks.next()
    if (done) {
      this.#ended = true
      return
    }
    const all = Buffer.concat([this.#kept, value])
    const end = this.#begin + all.length
    const begin = Math.max(this.#begin, Math.min(position, end) - keptBytes)
    this.#kept = all.subarray(begin - this.#begin)
    this.#begin = begin
  }
}
