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
    throw transfer.cut(error)
  } finally {
    transfer.end()
    await body.close()
  }
}

class Transfer {
  readonly #buffers: BufferPool
  readonly #reads: SharedReads
  readonly #response: ServerResponse
  readonly #watched: TransferWatch
  readonly #share: RateShare | undefined
  readonly #left: AbortController | undefined
  readonly #onClose: () => void
  #interrupt: (error: Error) => void = () => {}
  #gone: boolean
  #stalled = false
  /** Read, and waiting for the write before it. */
  #ahead: ChunkLease | undefined
  #writing: ChunkLease | undefined
  readonly #rest: NodeJS.Timeout
  /** While it rests: what others may use meanwhile. */
  #parked: number | undefined
  #sent = 0
  #size = first

  constructor({ reads, stalls: progress, egress }: TransferContext, response: ServerResponse) {
    this.#buffers = reads.buffers
    this.#reads = reads
    this.#response = response
    this.#buffers.enter()
    this.#watched = progress.sending(() => {
      this.#stalled = true
      response.destroy()
    })
    // Only while something is on its way to the socket is it the client that we wait for.
    this.#watched.pause()
    this.#rest = setTimeout(() => this.#park(), resting)
    this.#rest.unref()
    this.#share = egress?.share()
    this.#left = egress && new AbortController()
    this.#gone = response.destroyed
    if (this.#gone) this.#left?.abort(new ClosedError())
    // A write to a connection that is gone may never call back.
    this.#onClose = () => {
      this.#gone = true
      this.#left?.abort(new ClosedError())
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
      const shareable = this.#size > first ? largest : first
      const loan = await reader.read(part.offset + done, {
        bufferBytes: Math.min(this.#size, piece),
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
        if (this.#share) await this.#share.take(read, this.#left?.signal)
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
    this.#watched.resume()
    this.#writing = loan
    this.#rest.refresh()
    try {
      await this.#flush(loan.bytes)
    } catch (error) {
      loan.poison()
      throw error
    }
    this.#wake()
    this.#writing = undefined
    loan.release()
    this.#sent += length
    this.#watched.progressed(length)
    this.#watched.pause()
    const took = performance.now() - began
    if (took < fast && length >= first) this.#size = this.#sent < proven ? first : Math.min(this.#size * 4, largest)
    else if (took > slow) this.#size = Math.max(this.#size / 4, first)
  }

  #park(): void {
    if (this.#parked !== undefined || !this.#writing) return
    this.#parked = this.#buffers.park(pooled(this.#writing) + pooled(this.#ahead))
  }

  #wake(): void {
    if (this.#parked === undefined) return
    this.#buffers.unpark(this.#parked)
    this.#parked = undefined
  }

  #flush(chunk: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(new ClosedError())
      this.#interrupt = reject
      this.#response.write(chunk, error => (error ? reject(error) : resolve()))
    })
  }

  cut(error: unknown): TruncatedError {
    const gone = error instanceof ClosedError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_STREAM') || isReset(error)
    return new TruncatedError(this.#stalled ? 'stalled' : gone ? 'client' : 'source', this.#sent, error)
  }

  end(): void {
    this.#response.off('close', this.#onClose)
    // After the source broke a write may still be under way, and nobody else ends it: its buffer would be lost to the pool.
    this.#interrupt(new ClosedError())
    this.#watched.end()
    clearTimeout(this.#rest)
    this.#wake()
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
