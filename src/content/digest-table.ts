import { type Digest, encodedOf } from '../oci/digest.ts'

/**
 * Rows of 32-bit words by the first words of a digest: a hash table with open addressing, outside of the heap. Digests
 * are as good as random, so a part of one is its hash. The first word of a row is 0 where there is none.
 */
class DigestRows {
  readonly #keyWords: number
  readonly #rowWords: number
  readonly #key: Uint32Array
  #rows: Uint32Array
  #mask: number
  #size = 0

  constructor({ keyWords, valueWords, expected }: { keyWords: number; valueWords: 0 | 1; expected: number }) {
    this.#keyWords = keyWords
    this.#rowWords = keyWords + valueWords
    this.#key = new Uint32Array(keyWords)
    this.#mask = 2 ** Math.ceil(Math.log2(Math.max(16, expected))) - 1
    this.#rows = new Uint32Array((this.#mask + 1) * this.#rowWords)
  }

  get size(): number {
    return this.#size
  }

  /** The number of a digest, undefined if it was not added. */
  find(digest: Digest): number | undefined {
    const row = this.#rowOf(this.#parse(digest))
    return this.#rows[row] === 0 ? undefined : this.#rows[row + this.#keyWords]
  }

  has(digest: Digest): boolean {
    return this.#rows[this.#rowOf(this.#parse(digest))] !== 0
  }

  /** Adds a digest, unless it is there, with `size` for its number where rows have one; returns its number. */
  add(digest: Digest): number {
    const key = this.#parse(digest)
    const row = this.#rowOf(key)
    const number = this.#keyWords < this.#rowWords ? row + this.#keyWords : -1
    if (this.#rows[row] !== 0) return this.#rows[number] ?? 0
    this.#rows.set(key, row)
    if (number >= 0) this.#rows[number] = this.#size
    this.#size++
    if (this.#size * 4 > (this.#mask + 1) * 3) this.#grow()
    return this.#size - 1
  }

  #parse(digest: Digest): Uint32Array {
    const encoded = encodedOf(digest)
    for (let word = 0; word < this.#keyWords; word++) this.#key[word] = Number.parseInt(encoded.slice(word * 8, word * 8 + 8), 16)
    this.#key[0] ||= 1
    return this.#key
  }

  // The row of `key`, or the empty one in which it belongs.
  #rowOf(key: Uint32Array): number {
    for (let at = (key[1] ?? 0) & this.#mask; ; at = (at + 1) & this.#mask) {
      const row = at * this.#rowWords
      if (this.#rows[row] === 0 || this.#hasKey(row, key)) return row
    }
  }

  #hasKey(row: number, key: Uint32Array): boolean {
    for (let word = 0; word < this.#keyWords; word++) if (this.#rows[row + word] !== key[word]) return false
    return true
  }

  #grow(): void {
    const old = this.#rows
    this.#mask = this.#mask * 2 + 1
    this.#rows = new Uint32Array((this.#mask + 1) * this.#rowWords)
    for (let row = 0; row < old.length; row += this.#rowWords) {
      if (old[row] === 0) continue
      const from = old.subarray(row, row + this.#rowWords)
      this.#rows.set(from, this.#rowOf(from))
    }
  }
}

/**
 * Digests in 8 bytes each, so that a million of them fit into 32 MiB while the set grows. Two digests that share a
 * prefix of 64 bits count as one: the set may claim more than was added, never less.
 */
export class DigestSet {
  readonly #rows: DigestRows

  constructor(expected = 1024) {
    this.#rows = new DigestRows({ keyWords: 2, valueWords: 0, expected })
  }

  /** How many digests there are. */
  get size(): number {
    return this.#rows.size
  }

  add(digest: Digest): void {
    this.#rows.add(digest)
  }

  has(digest: Digest): boolean {
    return this.#rows.has(digest)
  }
}

/**
 * A number for each of very many digests, counted up from 0 in the order in which they are added. About 40 bytes each
 * instead of the 200 of a map. 128 bits of a digest count: enough that no two of them meet by accident.
 */
export class DigestTable {
  readonly #rows: DigestRows

  constructor(expected = 1024) {
    this.#rows = new DigestRows({ keyWords: 4, valueWords: 1, expected })
  }

  /** How many digests there are. */
  get size(): number {
    return this.#rows.size
  }

  /** The number of a digest; undefined if it was never added. */
  find(digest: Digest): number | undefined {
    return this.#rows.find(digest)
  }

  /** The number of a digest, which is `size` before the call if it is new. */
  add(digest: Digest): number {
    return this.#rows.add(digest)
  }
}

/** Numbers by index that grow as they are set; an index that was never set holds 0. */
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
