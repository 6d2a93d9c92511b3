import type { ServerResponse } from 'node:http'
import type { Rate, Share } from '../../storage/rate.ts'
import type { Part } from '../oci/range.ts'
import type { Body } from '../oci/source.ts'
import type { Buffers } from './buffers.ts'
import type { Progress, Watched } from './progress.ts'

/** What all bodies that are sent share. */
export interface SendPlace {
  buffers: Buffers
  progress: Progress
  /** Where all of them together are limited. */
  egress?: Rate | undefined
}

/** Why a response ended before its body was complete. */
export type CutCause = 'client' | 'stalled' | 'source'

/** The response ended short: the client has fewer bytes than Content-Length promised, and can tell. */
export class CutShortError extends Error {
  readonly reason: CutCause
  readonly sent: number

  constructor(reason: CutCause, sent: number, cause?: unknown) {
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
export async function sendBody(place: SendPlace, response: ServerResponse, body: Body, part: Part): Promise<number> {
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
  readonly #buffers: Buffers
  readonly #response: ServerResponse
  readonly #watched: Watched
  readonly #share: Share | undefined
  readonly #left: AbortController | undefined
  readonly #onClose: () => void
  #interrupt: (error: Error) => void = () => {}
  #gone: boolean
  #stalled = false
  /** Read, and waiting for the write before it. */
  #ahead: Buffer | undefined
  #writing: Buffer | undefined
  readonly #rest: NodeJS.Timeout
  /** While it rests: what others may use meanwhile. */
  #parked: number | undefined
  #sent = 0
  #size = first

  constructor({ buffers, progress, egress }: SendPlace, response: ServerResponse) {
    this.#buffers = buffers
    this.#response = response
    buffers.enter()
    this.#watched = progress.sending(() => {
      this.#stalled = true
      response.destroy()
    })
    // Only while something is on its way to the socket is it the client that we wait for.
    this.#watched.hold()
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
    let writing: Promise<void> | undefined
    const most = this.#share?.piece ?? largest
    for (let done = 0; done < part.length; ) {
      const buffer = this.#buffers.take(Math.min(this.#size, most))
      let read: number
      try {
        read = await body.readInto(buffer.subarray(0, Math.min(buffer.length, most, part.length - done)), part.offset + done)
        if (read === 0 && part.length !== Number.POSITIVE_INFINITY)
          throw new Error(`the source ended after ${done} of ${part.length} bytes`)
        this.#ahead = buffer
        await writing
        this.#ahead = undefined
        if (this.#share) await this.#share.take(read, this.#left?.signal)
      } catch (error) {
        // A disk that hangs may still write into it.
        if ((error as NodeJS.ErrnoException).code === 'ESTALLED') this.#buffers.drop(buffer)
        else this.#buffers.give(buffer)
        throw error
      }
      if (read === 0) {
        this.#buffers.give(buffer)
        return
      }
      done += read
      writing = this.#write(buffer, read)
      writing.catch(() => {})
    }
    await writing
  }

  async #write(buffer: Buffer, length: number): Promise<void> {
    const began = performance.now()
    this.#watched.go()
    this.#writing = buffer
    this.#rest.refresh()
    try {
      await this.#flush(buffer.subarray(0, length))
    } catch (error) {
      this.#buffers.drop(buffer)
      throw error
    }
    this.#wake()
    this.#writing = undefined
    this.#buffers.give(buffer)
    this.#sent += length
    this.#watched.moved(length)
    this.#watched.hold()
    const took = performance.now() - began
    if (took < fast && length === buffer.length) this.#size = this.#sent < proven ? first : Math.min(this.#size * 4, largest)
    else if (took > slow) this.#size = Math.max(this.#size / 4, first)
  }

  #park(): void {
    if (this.#parked !== undefined || !this.#writing) return
    this.#parked = this.#buffers.rest(pooled(this.#writing) + pooled(this.#ahead))
  }

  #wake(): void {
    if (this.#parked === undefined) return
    this.#buffers.wake(this.#parked)
    this.#parked = undefined
  }

  #flush(chunk: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(new ClosedError())
      this.#interrupt = reject
      this.#response.write(chunk, error => (error ? reject(error) : resolve()))
    })
  }

  cut(error: unknown): CutShortError {
    const gone = error instanceof ClosedError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_STREAM') || isReset(error)
    return new CutShortError(this.#stalled ? 'stalled' : gone ? 'client' : 'source', this.#sent, error)
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

function pooled(buffer: Buffer | undefined): number {
  return buffer && buffer.length >= first ? buffer.length : 0
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
