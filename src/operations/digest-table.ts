import { type Digest, encodedOf } from '../oci/digest.ts'

// 128 bits of a digest: enough that no two of them meet by accident.
const words = 4

/**
 * What is known of each of very many digests, by a number a digest: outside of the heap, about 40 bytes each instead of 200. The numbers are those of their coming, from 0.
 */
export class DigestTable {
  #slots: Uint32Array
  #keys: Uint32Array
  #count = 0

  constructor(expected = 1024) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(8, expected)))
    this.#slots = new Uint32Array(capacity * 2)
    this.#keys = new Uint32Array(capacity * words)
  }

  /** How many there are. */
  get size(): number {
    return this.#count
  }

  /** The number of a digest; undefined if it was never added. */
  find(digest: Digest): number | undefined {
    const slot = this.#slots[this.#slotOf(wordsOf(digest))] ?? 0
    return slot === 0 ? undefined : slot - 1
  }

  /** The number of a digest, which is `size` before the call if it is new. */
  add(digest: Digest): number {
    const key = wordsOf(digest)
    const at = this.#slotOf(key)
    const slot = this.#slots[at] ?? 0
    if (slot !== 0) return slot - 1
    if (this.#count * words === this.#keys.length) {
      this.#grow()
      return this.add(digest)
    }
    this.#keys.set(key, this.#count * words)
    this.#slots[at] = ++this.#count
    return this.#count - 1
  }

  // Digests are as good as random, so that their first bits spread evenly; half of the slots are empty at least.
  #slotOf(key: Uint32Array): number {
    const mask = this.#slots.length - 1
    let at = (key[0] ?? 0) & mask
    for (let slot = this.#slots[at] ?? 0; slot !== 0; slot = this.#slots[at] ?? 0) {
      const from = (slot - 1) * words
      if (key.every((word, index) => this.#keys[from + index] === word)) return at
      at = (at + 1) & mask
    }
    return at
  }

  #grow(): void {
    const keys = this.#keys
    this.#keys = new Uint32Array(keys.length * 2)
    this.#keys.set(keys)
    this.#slots = new Uint32Array(this.#slots.length * 2)
    for (let index = 0; index < this.#count; index++) {
      this.#slots[this.#slotOf(keys.subarray(index * words, (index + 1) * words))] = index + 1
    }
  }
}

function wordsOf(digest: Digest): Uint32Array {
  const encoded = encodedOf(digest)
  const key = new Uint32Array(words)
  for (let index = 0; index < words; index++) key[index] = Number.parseInt(encoded.slice(index * 8, index * 8 + 8), 16)
  return key
}

/** Numbers by index that grow as they are set; what was never set is 0. */
export class Column {
  #values = new Float64Array(1024)

  get(index: number): number {
    return this.#values[index] ?? 0
  }

  set(index: number, value: number): void {
    if (index >= this.#values.length) {
      const values = new Float64Array(Math.max(this.#values.length * 2, index + 1))
      values.set(this.#values)
      this.#values = values
    }
    this.#values[index] = value
  }
}
