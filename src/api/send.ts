import type { ServerResponse } from 'node:http'
import type { RateLimiter, RateShare } from '../../storage/rate-limiter.ts'
import type { Part } from '../oci/range.ts'
import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ChunkLease } from './shared-chunk.ts'
import type { BodyReader, SharedReads } from './shared-reads.ts'
import type { StallDetector, TransferWatch } from './stall-detector.ts'

/** What all bodies that are sent share. */
export interface TransferContext {
  reads: SharedReads
  stalls: StallDetector
  /** Where all of them together are limited. */
  egress?: RateLimiter | undefined
}

/** Why a response ended before its body was complete. */
export type TruncationCause = 'client' | 'stalled' | 'source'

/** The response ended short: the client has fewer bytes than Content-Length promised, and can tell. */
export class TruncatedError extends Error {
  readonly reason: TruncationCause
  readonly sent: number

  constructor(reason: TruncationCause, sent: number, cause?: unknown) {
    super(`the response was cut short after ${sent} bytes`, { cause })
    this.name = 'CutShortError'
    this.reason = reason
    this.sent = sent
  }
}

// A buffer that drains faster than this could be larger, one that drains slower than that should be smaller.
const fast = 4
const slow = 100
const first = 64 * 1024
const largest = 1024 * 1024
// Kernels take about so much that nobody reads. Who has read more than that gets larger buffers: what hangs in a write cannot be taken back.
const proven = 12 * 1024 * 1024
// A write that takes longer is one to a client that rests, which takes no share from those that do not; in ms.
const resting = 250

/**
 * Sends `part` of a body, read into pooled buffers: while one is on its way to the socket, the next is read. The head is written already. Closes the body, ends the
 * response, and resolves to the bytes sent; rejects with a CutShortError after the connection was closed.
 */
export async function sendBody(place: TransferContext, response: ServerResponse, body: Body, part: Part): Promise<number> {
  const transfer = new Transfer(place, response)
  try {
    await transfer.run(body, part)
    response.end()
    return transfer.sent
  } catch (error) {
    response.destroy()
    throw transfer.truncatedBy(error)
  } finally {
    transfer.end()
    await body.close()
  }
}

class Transfer {
  readonly #buffers: BufferPool
  readonly #reads: SharedReads
  readonly #response: ServerResponse
  readonly #watch: TransferWatch
  readonly #share: RateShare | undefined
  readonly #closing: AbortController | undefined
  readonly #onClose: () => void
  #interrupt: (error: Error) => void = () => {}
  #closed: boolean
  #stalled = false
  /** Read, and waiting for the write before it. */
  #ahead: ChunkLease | undefined
  #writing: ChunkLease | undefined
  readonly #parkTimer: NodeJS.Timeout
  /** While it rests: what others may use meanwhile. */
  #parkedBytes: number | undefined
  #sent = 0
  #bufferBytes = first

  constructor({ reads, stalls: progress, egress }: TransferContext, response: ServerResponse) {
    this.#buffers = reads.buffers
    this.#reads = reads
    this.#response = response
    this.#buffers.enter()
    this.#watch = progress.sending(() => {
      this.#stalled = true
      response.destroy()
    })
    // Only while something is on its way to the socket is it the client that we wait for.
    this.#watch.pause()
    this.#parkTimer = setTimeout(() => this.#park(), resting)
    this.#parkTimer.unref()
    this.#share = egress?.share()
    this.#closing = egress && new AbortController()
    this.#closed = response.destroyed
    if (this.#closed) this.#closing?.abort(new ClosedError())
    // A write to a connection that is gone may never call back.
    this.#onClose = () => {
      this.#closed = true
      this.#closing?.abort(new ClosedError())
      this.#interrupt(new ClosedError())
    }
    response.once('close', this.#onClose)
  }

  get sent(): number {
    return this.#sent
  }

  async run(body: Body, part: Part): Promise<void> {
    const reader = this.#reads.open(body)
    try {
      await this.#send(reader, part)
    } finally {
      reader.end()
    }
  }

  async #send(reader: BodyReader, part: Part): Promise<void> {
    let writing: Promise<void> | undefined
    const piece = this.#share?.chunkBytes ?? Number.POSITIVE_INFINITY
    for (let done = 0; done < part.length; ) {
      const most = Math.min(piece, part.length - done)
      // Who takes little at a time would keep a large buffer from all the others.
      const shareable = this.#bufferBytes > first ? largest : first
      const loan = await reader.read(part.offset + done, {
        bufferBytes: Math.min(this.#bufferBytes, piece),
        maxBytes: most,
        maxSharedBufferBytes: shareable
      })
      const read = loan.bytes.length
      try {
        if (read === 0 && part.length !== Number.POSITIVE_INFINITY)
          throw new Error(`the source ended after ${done} of ${part.length} bytes`)
        this.#ahead = loan
        await writing
        this.#ahead = undefined
        if (this.#share) await this.#share.take(read, this.#closing?.signal)
      } catch (error) {
        loan.release()
        throw error
      }
      if (read === 0) return loan.release()
      done += read
      writing = this.#write(loan)
      writing.catch(() => {})
    }
    await writing
  }

  async #write(loan: ChunkLease): Promise<void> {
    const began = performance.now()
    const { length } = loan.bytes
    this.#watch.resume()
    this.#writing = loan
    this.#parkTimer.refresh()
    try {
      await this.#flush(loan.bytes)
    } catch (error) {
      loan.poison()
      throw error
    }
    this.#unpark()
    this.#writing = undefined
    loan.release()
    this.#sent += length
    this.#watch.progressed(length)
    this.#watch.pause()
    const took = performance.now() - began
    if (took < fast && length >= first) this.#bufferBytes = this.#sent < proven ? first : Math.min(this.#bufferBytes * 4, largest)
    else if (took > slow) this.#bufferBytes = Math.max(this.#bufferBytes / 4, first)
  }

  #park(): void {
    if (this.#parkedBytes !== undefined || !this.#writing) return
    this.#parkedBytes = this.#buffers.park(pooled(this.#writing) + pooled(this.#ahead))
  }

  #unpark(): void {
    if (this.#parkedBytes === undefined) return
    this.#buffers.unpark(this.#parkedBytes)
    this.#parkedBytes = undefined
  }

  #flush(chunk: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new ClosedError())
      this.#interrupt = reject
      this.#response.write(chunk, error => (error ? reject(error) : resolve()))
    })
  }

  truncatedBy(error: unknown): TruncatedError {
    const gone = error instanceof ClosedError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_STREAM') || isReset(error)
    return new TruncatedError(this.#stalled ? 'stalled' : gone ? 'client' : 'source', this.#sent, error)
  }

  end(): void {
    this.#response.off('close', this.#onClose)
    // After the source broke a write may still be under way, and nobody else ends it: its buffer would be lost to the pool.
    this.#interrupt(new ClosedError())
    this.#watch.end()
    clearTimeout(this.#parkTimer)
    this.#unpark()
    this.#buffers.leave()
  }
}

function pooled(loan: ChunkLease | undefined): number {
  return loan && loan.bufferBytes >= first ? loan.bufferBytes : 0
}

class ClosedError extends Error {
  constructor() {
    super('the connection was closed')
  }
}

function isReset(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'ECANCELED' || code === 'ECONNABORTED'
}
