/** A JSON text would cost more to parse than its reader allows. */
export class JsonTooCostly extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'JsonTooCostly'
  }
}

/** What parsing may cost where nothing else is said: some 20 ms. A full manifest of 4 MiB needs up to 590,000. */
export const defaultJsonCost = 640_000

// A unit is the time in which JSON.parse makes a number. In units, with the flags of `npm start`: an object or a list
// takes 4, a string 3 and twice as much with escapes, a key 20 where V8 has to make a new shape of objects, and 1 where
// it knows the shape.
const containerCost = 4
const stringCost = 3
const newShapeCost = 20
// Parsers of clients have a limit, 10,000 in Go; a manifest has six levels.
const maxNesting = 1_000
// Honest documents have some tens of shapes. Those past half of the table count as new each time.
const tableSize = 1024

// Random, so that no sender can choose keys whose hashes are the same.
const multiplier = (Math.floor(Math.random() * 2 ** 31) * 2 + 1) | 0
const emptyShape = multiplier | 1

const quote = 0x22
const backslash = 0x5c

/**
 * Counts, while bytes of a JSON text arrive, what JSON.parse would cost: 4 MiB of tiny lists or of objects that each
 * have other keys take a hundred times as long as 4 MiB of manifest. The grammar is JSON.parse's to check.
 */
export class JsonMeter {
  readonly #limit: number
  /** What the text is, for messages. */
  readonly #what: string
  #cost = 0
  #quoted = false
  #escaped = false
  /** Whether the string under way has an escape already. */
  #hasEscape = false
  /** Whether the string under way is a key. */
  #key = false
  /** Whether a string that begins now would be a key. */
  #keyNext = false
  #hash = 0
  /** Of each open container: the hash of the keys so far, 0 for a list. */
  readonly #shapes: number[] = []
  #known: Int32Array | undefined
  #knownCount = 0

  constructor({ limit = defaultJsonCost, what = 'document' }: { limit?: number | undefined; what?: string } = {}) {
    this.#limit = limit
    this.#what = what
  }

  /** Counts further bytes; throws JsonTooCostly past the limit. */
  add(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      at = this.#quoted ? this.#string(bytes, at) : this.#structure(bytes, at)
      if (this.#cost > this.#limit) throw new JsonTooCostly(`the ${this.#what} has too many values`)
    }
  }

  /** Begins another text under the same limit: pages of a list count together. */
  next(): void {
    this.#quoted = this.#escaped = this.#hasEscape = this.#key = this.#keyNext = false
    this.#shapes.length = 0
  }

  /** Counts to the end of the string, and returns the position after it. */
  #string(bytes: Uint8Array, from: number): number {
    let hash = this.#hash
    let at = from
    for (; at < bytes.length; at++) {
      const byte = bytes[at] as number
      hash = Math.imul(hash ^ byte, multiplier)
      if (this.#escaped) this.#escaped = false
      else if (byte === backslash) {
        this.#escaped = true
        if (!this.#hasEscape) this.#cost += stringCost
        this.#hasEscape = true
      } else if (byte === quote) {
        this.#quoted = this.#hasEscape = false
        if (this.#key) this.#endKey(hash)
        return at + 1
      }
    }
    this.#hash = hash
    return at
  }

  /** Counts to the beginning of the next string, and returns the position after that. */
  #structure(bytes: Uint8Array, from: number): number {
    let cost = this.#cost
    let keyNext = this.#keyNext
    const shapes = this.#shapes
    let at = from
    for (; at < bytes.length; at++) {
      const byte = bytes[at] as number
      if (byte === quote) break
      // Between `:` and `,` are digits, letters and white space, which the bytes bound.
      else if (byte === 0x2c) {
        cost++
        keyNext = shapes.at(-1) !== 0
      } else if (byte === 0x3a) keyNext = false
      else if (byte === 0x7b || byte === 0x5b) {
        cost += containerCost
        keyNext = byte === 0x7b
        shapes.push(keyNext ? emptyShape : 0)
        if (shapes.length > maxNesting) throw new JsonTooCostly(`the ${this.#what} is nested more than ${maxNesting} deep`)
        if (cost > this.#limit) break
      } else if (byte === 0x7d || byte === 0x5d) shapes.pop()
    }
    this.#keyNext = keyNext
    this.#cost = cost
    if (at === bytes.length) return at
    if (bytes[at] !== quote) return at + 1
    this.#quoted = true
    this.#key = keyNext && shapes.length > 0
    this.#hash = this.#key ? (shapes.at(-1) as number) : 0
    if (!this.#key) this.#cost += stringCost
    return at + 1
  }

  #endKey(hash: number): void {
    const shape = hash | 1
    this.#shapes[this.#shapes.length - 1] = shape
    this.#cost += this.#isKnown(shape) ? 1 : newShapeCost
  }

  #isKnown(shape: number): boolean {
    this.#known ??= new Int32Array(tableSize)
    const known = this.#known
    for (let at = (shape >>> 8) % tableSize; ; at = (at + 1) % tableSize) {
      if (known[at] === shape) return true
      if (known[at] !== 0) continue
      if (this.#knownCount < tableSize / 2) {
        known[at] = shape
        this.#knownCount++
      }
      return false
    }
  }
}
