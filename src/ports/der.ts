/** The tags of DER that are read here (X.690 §8). */
const tags = { integer: 0x02, sequence: 0x30, utcTime: 0x17, generalizedTime: 0x18, version: 0xa0 } as const

type Tag = keyof typeof tags

/** Reads values of DER (X.690) one after another. Throws an Error where they are not as expected. */
export class DerReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** Whether all values were read. */
  get isEmpty(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** Whether the next value has this tag. */
  is(tag: Tag): boolean {
    return this.#bytes[this.#at] === tags[tag]
  }

  /** Whether the next value is a time. */
  isTime(): boolean {
    return this.is('utcTime') || this.is('generalizedTime')
  }

  /** The next value, with its tag and length. */
  take(tag: Tag): Buffer {
    const from = this.#at
    this.content(tag)
    return this.#bytes.subarray(from, this.#at)
  }

  /** A reader of what is inside the next value. */
  enter(tag: Tag): DerReader {
    return new DerReader(this.content(tag))
  }

  skip(tag: Tag): void {
    this.content(tag)
  }

  skipIf(tag: Tag): void {
    if (this.is(tag)) this.content(tag)
  }

  /** What is inside the next value. */
  content(tag: Tag): Buffer {
    if (!this.is(tag)) throw new Error(`it is damaged: expected ${tag} at byte ${this.#at}`)
    const { length, start } = this.#length(this.#at + 1)
    const end = start + length
    if (end > this.#bytes.length) throw new Error('it is damaged: a value is longer than what holds it')
    this.#at = end
    return this.#bytes.subarray(start, end)
  }

  /** The next value, a time (RFC 5280 §4.1.2.5). */
  time(): Date {
    const short = this.is('utcTime')
    const text = this.content(short ? 'utcTime' : 'generalizedTime').toString('latin1')
    const [, year = '', rest = ''] = (short ? /^(\d{2})(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text) ?? []
    const century = short ? (Number(year) < 50 ? '20' : '19') : ''
    const [month, day, hour, minute, second] = rest.match(/../g) ?? []
    const date = new Date(`${century}${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
    if (Number.isNaN(date.getTime())) throw new Error('it is damaged: a time has another form')
    return date
  }

  #length(at: number): { length: number; start: number } {
    const first = this.#bytes[at] ?? 0x80
    if (first < 0x80) return { length: first, start: at + 1 }
    const count = first - 0x80
    if (count < 1 || count > 4 || at + 1 + count > this.#bytes.length) throw new Error('it is damaged: a length is not DER')
    return { length: this.#bytes.readUIntBE(at + 1, count), start: at + 1 + count }
  }
}
