import { Readable } from 'node:stream'
import { HttpProtocolError } from './response-head.ts'

/** What a body needs of its connection. */
export interface BodyFlow {
  /** Goes on reading from the socket. */
  resume(): void
  /** Reads nothing more for now. */
  pause(): void
  /** All bytes were received. */
  onComplete(): void
  /** The body was given up. */
  onAbandon(): void
}

// For those who read it as a stream.
const streamChunkBytes = 64 * 1024

/**
 * The body of an answer whose length is known. `readInto` has the system put the bytes where they are wanted: a stream would have each chunk in a buffer of its own, and what that
 * costs is several times what the bytes cost. It is a stream besides, for whoever knows no better.
 */
export class ResponseBody extends Readable {
  readonly #flow: BodyFlow
  readonly #idleTimeoutMs: number
  /** Bytes that are still to be received. */
  #left: number
  #into: Buffer | undefined
  #filled = 0
  #reading = Promise.withResolvers<number>()
  /** Received before anybody wanted them. */
  #early: Buffer[] = []
  #failure: Error | undefined
  #settleSoon: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined

  /** Of `length` bytes; one that brings nothing for `patience` ms, while somebody waits, is broken. */
  constructor(place: BodyFlow, length: number, patience: number) {
    super({ highWaterMark: streamChunkBytes })
    this.#flow = place
    this.#left = length
    this.#idleTimeoutMs = patience
  }

  /** Where the next bytes should be put, until `settled` is true again; undefined while nobody wants any. */
  get target(): Buffer | undefined {
    return this.#into && this.#filled < this.#into.length ? this.#into.subarray(this.#filled) : undefined
  }

  /** Whether nobody waits for bytes. */
  get idle(): boolean {
    return this.#into === undefined
  }

  /** `length` bytes were put into `room`; with `more` others are about to follow. */
  onFilled(length: number, more: boolean): void {
    this.#count(length)
    this.#filled += length
    if (!more || this.#filled === this.#into?.length || this.#left === 0) this.#settle()
    this.#checkComplete()
  }

  /** Bytes came elsewhere, and are copied; with `more` others are about to follow, with `perhaps` before the event loop turns. */
  receive(bytes: Uint8Array, more: boolean | 'perhaps'): void {
    this.#count(bytes.length)
    this.#copy(bytes)
    if (!more || !this.target || this.#left === 0) this.#settle()
    else if (more === 'perhaps')
      this.#settleSoon ??= setImmediate(() => {
        this.#settle()
        this.#flow.pause()
      })
    this.#checkComplete()
  }

  #count(length: number): void {
    if (length > this.#left) throw new HttpProtocolError('more bytes came than the answer has')
    this.#left -= length
    this.#timer?.refresh()
  }

  #checkComplete(): void {
    if (this.#left === 0) this.#flow.onComplete()
  }

  #copy(bytes: Uint8Array): void {
    const { target: room } = this
    const fits = Math.min(room?.length ?? 0, bytes.length)
    room?.set(bytes.subarray(0, fits))
    this.#filled += fits
    if (fits < bytes.length) this.#early.push(Buffer.from(bytes.subarray(fits)))
  }

  /** Nothing more will come. What has come can still be taken. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#settle()
  }

  #settle(): void {
    clearImmediate(this.#settleSoon)
    this.#settleSoon = undefined
    if (!this.#into) return
    if (this.#filled === 0 && this.#left > 0 && !this.#failure) return
    clearTimeout(this.#timer)
    this.#into = undefined
    if (this.#filled > 0 || !this.#failure) this.#reading.resolve(this.#filled)
    else this.#reading.reject(this.#failure)
  }

  /** Fills `into` with what there is, at least a byte; 0 at the end. By one reader at a time. */
  async readInto(into: Buffer): Promise<number> {
    const early = this.#takeEarly(into)
    if (early > 0) return early
    if (this.#failure) throw this.#failure
    if (this.#left === 0) return 0
    this.#into = into.subarray(0, this.#left)
    this.#filled = 0
    this.#reading = Promise.withResolvers()
    this.#timer = setTimeout(() => this.#timeOut(), this.#idleTimeoutMs)
    this.#flow.resume()
    return this.#reading.promise
  }

  #timeOut(): void {
    this.fail(Object.assign(new Error('no byte came in time'), { code: 'ETIMEDOUT' }))
    this.#flow.onAbandon()
  }

  #takeEarly(into: Buffer): number {
    let filled = 0
    while (filled < into.length) {
      const [first] = this.#early
      if (!first) break
      const length = first.copy(into, filled)
      filled += length
      if (length === first.length) this.#early.shift()
      else this.#early[0] = first.subarray(length)
    }
    return filled
  }

  override _read(): void {
    const chunk = Buffer.allocUnsafe(streamChunkBytes)
    this.readInto(chunk).then(
      length => this.push(length > 0 ? chunk.subarray(0, length) : null),
      (error: Error) => this.destroy(error)
    )
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    if (this.#left > 0) this.#flow.onAbandon()
    this.fail(error ?? Object.assign(new Error('the body was given up'), { code: 'EBADF' }))
    this.#early = []
    callback(error)
  }
}
