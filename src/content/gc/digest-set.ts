import { type Digest, encodedOf } from '../../oci/digest.ts'

const wordsEach = 2

/**
 * Digests in 8 bytes each, so that a million of them fit into 32 MiB while the set grows. Two digests that begin alike count as one: who asks is told of more than was
 * added, never of less.
 */
export class DigestSet {
  #words: Uint32Array
  #mask: number
  #size = 0

  constructor(capacity = 1024) {
    this.#mask = 2 ** Math.ceil(Math.log2(Math.max(16, capacity))) - 1
    this.#words = new Uint32Array((this.#mask + 1) * wordsEach)
  }

  /** How many there are. */
  get size(): number {
    return this.#size
  }

  add(digest: Digest): void {
    const [high, low] = fingerprint(digest)
    if (!this.#put(high, low)) return
    this.#size++
    if (this.#size * 4 > (this.#mask + 1) * 3) this.#grow()
  }

  has(digest: Digest): boolean {
    const [high, low] = fingerprint(digest)
    return this.#words[this.#place(high, low)] !== 0
  }

  // The first word of a place is 0 where there is nothing.
  #place(high: number, low: number): number {
    for (let at = low & this.#mask; ; at = (at + 1) & this.#mask) {
      const place = at * wordsEach
      const there = this.#words[place]
      if (there === 0 || (there === high && this.#words[place + 1] === low)) return place
    }
  }

  #put(high: number, low: number): boolean {
    const place = this.#place(high, low)
    if (this.#words[place] !== 0) return false
    this.#words[place] = high
    this.#words[place + 1] = low
    return true
  }

  #grow(): void {
    const old = this.#words
    this.#mask = this.#mask * 2 + 1
    this.#words = new Uint32Array((this.#mask + 1) * wordsEach)
    for (let place = 0; place < old.length; place += wordsEach) {
      const high = old[place] ?? 0
      if (high !== 0) this.#put(high, old[place + 1] ?? 0)
    }
  }
}

function fingerprint(digest: Digest): [high: number, low: number] {
  const encoded = encodedOf(digest)
  return [Number.parseInt(encoded.slice(0, 8), 16) || 1, Number.parseInt(encoded.slice(8, 16), 16)]
}
