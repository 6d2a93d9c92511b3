import type { ServerResponse } from 'node:http'
import type { RateLimiter, RateShare } from '../../storage/rate-limiter.ts'
import type { Part } from '../oci/range.ts'
import type { Body } from '../oci/source.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ChunkLease } from './shared-chunk.ts'
import type { BodyReader, SharedReads } from './shared-reads.ts'
import type { StallDetector, TransferWatch } from './stall-detector.ts'

/** What all transfers share. */
export interface TransferContext {
  reads: SharedReads
  stalls: StallDetector
  /** The rate limit of all responses together. */
  egress?: RateLimiter | undefined
}

/** Why a response ended before its body was complete. */
export type TruncationCause = 'client' | 'stalled' | 'source'

/** A truncated response: the client received fewer bytes than Content-Length said, and can tell (RFC 9112 §8). */
export class TruncatedError extends Error {
  readonly reason: TruncationCause
  readonly sent: number

  constructor(reason: TruncationCause, sent: number, cause?: unknown) {
    super(`the response was truncated after ${sent} bytes`, { cause })
    this.name = 'TruncatedError'
    this.reason = reason
    this.sent = sent
  }
}

// A write that is faster gets a larger buffer next, one that is slower a smaller one.
const fastWriteMs = 4
const slowWriteMs = 100
const minBufferBytes = 64 * 1024
const maxBufferBytes = 1024 * 1024
// The kernel accepts about this much before the client reads anything. Only a client that has read more gets larger
// buffers, since a buffer in a blocked write cannot be reclaimed.
const kernelBufferBytes = 12 * 1024 * 1024
// After a write has been blocked for so long, its transfer is parked.
const parkAfterMs = 250

/**
 * Sends `part` of a body through pooled buffers: reads the next chunk while one is being written to the socket. The
 * head of the response must be written. Closes the body, ends the response, and resolves to the number of bytes sent.
 * On any failure closes the connection and rejects with a TruncatedError.
 */
export async function sendBody(context: TransferContext, response: ServerResponse, body: Body, part: Part): Promise<number> {
  const transfer = new Transfer(context, response)
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
  /** Read, waiting for the previous write to end. */
  #ahead: ChunkLease | undefined
  #writing: ChunkLease | undefined
  readonly #parkTimer: NodeJS.Timeout
  /** Set while parked: the bytes that others may allocate meanwhile. */
  #parkedBytes: number | undefined
  #sent = 0
  #bufferBytes = minBufferBytes

  constructor({ reads, stalls, egress }: TransferContext, response: ServerResponse) {
    this.#buffers = reads.buffers
    this.#reads = reads
    this.#response = response
    this.#buffers.enter()
    this.#watch = stalls.sending(() => {
      this.#stalled = true
      response.destroy()
    })
    // The client's clock runs only during a write to the socket.
    this.#watch.pause()
    this.#parkTimer = setTimeout(() => this.#park(), parkAfterMs)
    this.#parkTimer.unref()
    this.#share = egress?.share()
    this.#closing = egress && new AbortController()
    this.#closed = response.destroyed
    if (this.#closed) this.#closing?.abort(new ClosedError())
    // A write to a closed connection may never call back.
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
    const limitBytes = this.#share?.chunkBytes ?? Number.POSITIVE_INFINITY
    for (let done = 0; done < part.length; ) {
      // A slow client would keep a large buffer from all others.
      const maxSharedBufferBytes = this.#bufferBytes > minBufferBytes ? maxBufferBytes : minBufferBytes
      const lease = await reader.read(part.offset + done, {
        bufferBytes: Math.min(this.#bufferBytes, limitBytes),
        maxBytes: Math.min(limitBytes, part.length - done),
        maxSharedBufferBytes
      })
      const read = lease.bytes.length
      try {
        if (read === 0 && part.length !== Number.POSITIVE_INFINITY)
          throw new Error(`the source ended after ${done} of ${part.length} bytes`)
        this.#ahead = lease
        await writing
        this.#ahead = undefined
        if (this.#share) await this.#share.take(read, this.#closing?.signal)
      } catch (error) {
        lease.release()
        throw error
      }
      if (read === 0) return lease.release()
      done += read
      writing = this.#write(lease)
      writing.catch(() => {})
    }
    await writing
  }

  async #write(lease: ChunkLease): Promise<void> {
    const began = performance.now()
    const { length } = lease.bytes
    this.#watch.resume()
    this.#writing = lease
    this.#parkTimer.refresh()
    try {
      await this.#flush(lease.bytes)
    } catch (error) {
      lease.poison()
      throw error
    }
    this.#unpark()
    this.#writing = undefined
    lease.release()
    this.#sent += length
    this.#watch.progressed(length)
    this.#watch.pause()
    this.#adaptBuffer(length, performance.now() - began)
  }

  #adaptBuffer(writtenBytes: number, ms: number): void {
    const size = this.#bufferBytes
    if (ms < fastWriteMs && writtenBytes >= minBufferBytes)
      this.#bufferBytes = this.#sent < kernelBufferBytes ? minBufferBytes : Math.min(size * 4, maxBufferBytes)
    else if (ms > slowWriteMs) this.#bufferBytes = Math.max(size / 4, minBufferBytes)
  }

  #park(): void {
    if (this.#parkedBytes !== undefined || !this.#writing) return
    this.#parkedBytes = this.#buffers.park(pooledBytes(this.#writing) + pooledBytes(this.#ahead))
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
    const closed = error instanceof ClosedError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_STREAM') || isReset(error)
    return new TruncatedError(this.#stalled ? 'stalled' : closed ? 'client' : 'source', this.#sent, error)
  }

  end(): void {
    this.#response.off('close', this.#onClose)
    // After an error of the source a write may still be running. Ends it, or its buffer would be lost to the pool.
    this.#interrupt(new ClosedError())
    this.#watch.end()
    clearTimeout(this.#parkTimer)
    this.#unpark()
    this.#buffers.leave()
  }
}

function pooledBytes(lease: ChunkLease | undefined): number {
  return lease && lease.bufferBytes >= minBufferBytes ? lease.bufferBytes : 0
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
