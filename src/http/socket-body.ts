import { Readable } from 'node:stream'
import { HttpProtocolError } from './response-head.ts'

/** How a body controls its connection. */
export interface BodyFlow {
  /** Reads from the socket. */
  resume(): void
  /** Stops reading from the socket until `resume`. */
  pause(): void
  /** Called when all bytes were received. */
  onComplete(): void
  /** Called when the body was destroyed or timed out before that. */
  onAbandon(): void
}

// For readers of the stream.
const streamChunkBytes = 64 * 1024

/**
 * The body of a response whose length is known, read from its socket. `readInto` lets the kernel put the bytes straight
 * into the reader's buffer: a stream allocates a buffer per chunk, which costs several times what receiving the bytes
 * costs. It is a stream too, for readers that need one.
 */
export class SocketBody extends Readable {
  readonly #flow: BodyFlow
  readonly #idleTimeoutMs: number
  /** Bytes that were not received yet. */
  #leftBytes: number
  #into: Buffer | undefined
  #filled = 0
  #reading = Promise.withResolvers<number>()
  /** Bytes received while no read was pending, or beyond its buffer. */
  #unread: Buffer[] = []
  #failure: Error | undefined
  #settleSoon: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined

  /** Of `lengthBytes`. A read during which nothing is received for `idleTimeoutMs` rejects with `ETIMEDOUT`. */
  constructor(flow: BodyFlow, lengthBytes: number, idleTimeoutMs: number) {
    super({ highWaterMark: streamChunkBytes })
    this.#flow = flow
    this.#leftBytes = lengthBytes
    this.#idleTimeoutMs = idleTimeoutMs
  }

  /** The rest of the pending read's buffer, valid until `idle` is true; undefined while no read is pending. */
  get target(): Buffer | undefined {
    return this.#into && this.#filled < this.#into.length ? this.#into.subarray(this.#filled) : undefined
  }

  /** Whether no read is pending. */
  get idle(): boolean {
    return this.#into === undefined
  }

  /** Counts `length` bytes that were put into `target`. With `more` the read stays pending: others follow at once. */
  onFilled(length: number, more: boolean): void {
    this.#count(length)
    this.#filled += length
    if (!more || this.#filled === this.#into?.length || this.#leftBytes === 0) this.#settle()
    this.#checkComplete()
  }

  /**
   * Copies bytes that were received elsewhere. With `more` others follow at once, with `perhaps` they may follow in
   * this turn of the event loop.
   */
  receive(bytes: Uint8Array, more: boolean | 'perhaps'): void {
    this.#count(bytes.length)
    this.#copy(bytes)
    if (!more || !this.target || this.#leftBytes === 0) this.#settle()
    else if (more === 'perhaps')
      this.#settleSoon ??= setImmediate(() => {
        this.#settle()
        this.#flow.pause()
      })
    this.#checkComplete()
  }

  #count(length: number): void {
    if (length > this.#leftBytes) throw new HttpProtocolError('more bytes were received than the response has')
    this.#leftBytes -= length
    this.#timer?.refresh()
  }

  #checkComplete(): void {
    if (this.#leftBytes === 0) this.#flow.onComplete()
  }

  #copy(bytes: Uint8Array): void {
    const { target } = this
    const fits = Math.min(target?.length ?? 0, bytes.length)
    target?.set(bytes.subarray(0, fits))
    this.#filled += fits
    if (fits < bytes.length) this.#unread.push(Buffer.from(bytes.subarray(fits)))
  }

  /** Ends the body: what was received can still be read, the next read rejects. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#settle()
  }

  #settle(): void {
    clearImmediate(this.#settleSoon)
    this.#settleSoon = undefined
    if (!this.#into) return
    if (this.#filled === 0 && this.#leftBytes > 0 && !this.#failure) return
    clearTimeout(this.#timer)
    this.#into = undefined
    if (this.#filled > 0 || !this.#failure) this.#reading.resolve(this.#filled)
    else this.#reading.reject(this.#failure)
  }

  /** Reads at least a byte into `into`; 0 is the end. One read at a time, which owns `into` until it settles. */
  async readInto(into: Buffer): Promise<number> {
    const taken = this.#takeUnread(into)
    if (taken > 0) return taken
    if (this.#failure) throw this.#failure
    if (this.#leftBytes === 0) return 0
    this.#into = into.subarray(0, this.#leftBytes)
    this.#filled = 0
    this.#reading = Promise.withResolvers()
    this.#timer = setTimeout(() => this.#timeOut(), this.#idleTimeoutMs)
    this.#flow.resume()
    return this.#reading.promise
  }

  #timeOut(): void {
    this.fail(Object.assign(new Error('the body timed out'), { code: 'ETIMEDOUT' }))
    this.#flow.onAbandon()
  }

  #takeUnread(into: Buffer): number {
    let filled = 0
    while (filled < into.length) {
      const [first] = this.#unread
      if (!first) break
      const length = first.copy(into, filled)
      filled += length
      if (length === first.length) this.#unread.shift()
      else this.#unread[0] = first.subarray(length)
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
    if (this.#leftBytes > 0) this.#flow.onAbandon()
    this.fail(error ?? Object.assign(new Error('the body was closed'), { code: 'EBADF' }))
    this.#unread = []
    callback(error)
  }
}
