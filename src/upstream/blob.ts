import type { RateShare } from '../../storage/rate-limiter.ts'
import type { RangeRequest } from '../oci/range.ts'
import { abandon } from './connection/read-body.ts'
import type { UpstreamRequest } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import { type FailoverClient, isTransient } from './failover.ts'
import { connectionError, unusableResponse } from './failure.ts'
import { openSegment, rangeField, type Segment } from './segment.ts'
import type { UpstreamEvent } from './settings.ts'

// In a row without a byte: together they bridge some seconds, in which a registry restarts.
const mostStuck = 5
// Whoever breaks more often than once per MiB will not come to an end.
const sparedResumes = 16
const bytesPerResume = 1024 * 1024

/** What a stream needs from its upstream. */
interface Given {
  attempts: FailoverClient
  observe: (event: UpstreamEvent) => void
  signal: AbortSignal
  onEnd: () => void
  /** Where it has to wait for its turn. */
  share?: RateShare | undefined
}

/** Opens a blob (or a range of it) and keeps it coming. */
export class BlobStream {
  readonly #attempts: FailoverClient
  readonly #ask: UpstreamRequest
  readonly #observe: (event: UpstreamEvent) => void
  readonly #left = new AbortController()
  readonly #signal: AbortSignal
  readonly #onEnd: () => void
  readonly #share: RateShare | undefined
  #segment: Segment
  /** The position of the next byte. */
  #at: number
  #started = false
  #ended = false
  #size: number | undefined
  #until: number | undefined
  #resumes = 0
  #stuck = 0
  #received = 0

  private constructor(
    segment: Segment,
    { attempts, ask, observe, signal, left, onEnd, share }: Given & { ask: UpstreamRequest; left: AbortController }
  ) {
    this.#attempts = attempts
    this.#ask = ask
    this.#observe = observe
    this.#left = left
    this.#signal = signal
    this.#onEnd = onEnd
    this.#share = share
    this.#segment = segment
    this.#at = segment.from
    this.#size = segment.size
    this.#until = segment.until
  }

  /** Resolves with the head of the answer. `onEnd` is called once, when the body has ended, failed or been given up; not if opening fails. */
  static async open(ask: UpstreamRequest, range: RangeRequest | undefined, { signal, ...given }: Given): Promise<BlobStream> {
    const left = new AbortController()
    const either = AbortSignal.any([signal, left.signal])
    const segment = await given.attempts.run({ ...ask, headers: rangeField(range) }, either, answer => openSegment(answer, range))
    return new BlobStream(segment, { ...given, ask, signal: either, left })
  }

  /** Of the whole blob, as the first answer said. */
  get size(): number | undefined {
    return this.#size
  }

  /** Where the bytes begin. */
  get offset(): number {
    return this.#segment.from
  }

  /** Gives it up. */
  cancel(): void {
    this.#left.abort()
    abandon(this.#segment.body)
    if (!this.#started) this.#end()
  }

  /** The bytes, once. */
  chunks(): AsyncIterableIterator<Buffer> {
    const chunks = this.#chunks()
    const iterator: AsyncIterableIterator<Buffer> = {
      [Symbol.asyncIterator]: () => iterator,
      next: () => chunks.next(),
      // A generator that never began has no `finally` to run.
      return: () => {
        if (!this.#started) this.cancel()
        return chunks.return()
      }
    }
    return iterator
  }

  async *#chunks(): AsyncGenerator<Buffer, void, undefined> {
    this.#started = true
    try {
      this.#signal.throwIfAborted()
      for (;;) {
        const error = yield* this.#read()
        if (!error) return
        if (!(await this.#resume(error))) return
      }
    } finally {
      abandon(this.#segment.body)
      this.#end()
    }
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#onEnd()
  }

  // Gives the segment's bytes; returns why it ended early, or nothing if all is there.
  async *#read(): AsyncGenerator<Buffer, UpstreamError | 'partial' | undefined, undefined> {
    const { body, endpoint, text } = this.#segment
    const before = this.#received
    let result: 'complete' | 'broken' | 'cancelled' = 'cancelled'
    let position = this.#segment.begins
    try {
      for await (const chunk of body) {
        const begins = position
        position += chunk.length
        this.#checkLength(position)
        const wanted = chunk.subarray(Math.max(this.#at - begins, 0), this.#until === undefined ? undefined : this.#until - begins)
        this.#received += chunk.length
        // The body is paused meanwhile, which `bodyTimeout` does not count.
        if (this.#share) await this.#share.take(chunk.length, this.#signal)
        if (this.#at > position || wanted.length === 0) continue
        this.#at += wanted.length
        this.#stuck = 0
        yield wanted
        if (this.#at === this.#until && position < (this.#segment.ends ?? Number.POSITIVE_INFINITY)) break
      }
      if (this.#at !== this.#until) this.#checkEnd(position)
      result = 'complete'
      return this.#until === undefined || this.#at >= this.#until || this.#segment.ends === undefined ? undefined : 'partial'
    } catch (cause) {
      this.#signal.throwIfAborted()
      result = 'broken'
      const error = connectionError(cause, endpoint.host, text)
      this.#attempts.report(endpoint, error)
      return error
    } finally {
      this.#observe({ type: 'body', endpoint: endpoint.host, bytes: this.#received - before, result })
    }
  }

  #checkLength(position: number): void {
    const limit = this.#segment.ends ?? this.#size
    if (limit !== undefined && position > limit) throw this.#broken('more bytes than declared')
  }

  #checkEnd(position: number): void {
    const declared = this.#segment.ends ?? this.#size
    if (declared !== undefined && position < declared) throw this.#broken('fewer bytes than declared')
    if (position >= this.#at) return
    if (this.#resumes > 0) throw this.#broken('fewer bytes than before')
    const { endpoint, text } = this.#segment
    const message = `${endpoint.host}: ${text}: the range begins past the end`
    throw new UpstreamError('unsatisfiable', message, { endpoint: endpoint.host, size: position })
  }

  #broken(reason: string): UpstreamError {
    const { endpoint, text } = this.#segment
    return unusableResponse('broken', reason, { endpoint: endpoint.host, asked: text, code: 'SIZE' })
  }

  // Goes on where the bytes stopped; false if there is nothing left to come.
  async #resume(cause: UpstreamError | 'partial'): Promise<boolean> {
    let error = cause
    for (;;) {
      if (error !== 'partial' && !mayGoOn(error)) throw error
      this.#count(error)
      if (this.#stuck > 1) await this.#attempts.pause(this.#stuck + 1, this.#signal)
      try {
        return await this.#reopen()
      } catch (failure) {
        this.#signal.throwIfAborted()
        if (!(failure instanceof UpstreamError)) throw failure
        error = failure
      }
    }
  }

  #count(error: UpstreamError | 'partial'): void {
    this.#resumes++
    this.#stuck++
    if (this.#stuck <= mostStuck && this.#resumes <= sparedResumes + this.#received / bytesPerResume) return
    throw error === 'partial' ? this.#broken('only ever parts of it') : error
  }

  async #reopen(): Promise<boolean> {
    const range = { first: this.#at, ...(this.#until === undefined ? {} : { last: this.#until - 1 }) }
    try {
      const ask = { ...this.#ask, headers: rangeField(range) }
      const segment = await this.#attempts.run(ask, this.#signal, answer => this.#sameBlob(openSegment(answer, range)))
      this.#observe({ type: 'resume', endpoint: segment.endpoint.host, offset: this.#at })
      this.#segment = segment
      this.#size ??= segment.size
      this.#until ??= segment.until
      return true
    } catch (error) {
      // The connection broke behind the last byte, before its end could be told.
      if (error instanceof UpstreamError && error.kind === 'unsatisfiable' && error.size === this.#at) return false
      throw error
    }
  }

  // There is no validator to send with If-Range: the digest is the same, so that only the size can show that it is another's blob.
  #sameBlob(segment: Segment): Segment {
    if (this.#size === undefined || segment.size === undefined || segment.size === this.#size) return segment
    abandon(segment.body)
    const reason = `the blob had ${this.#size} bytes and has ${segment.size} now`
    throw unusableResponse('broken', reason, { endpoint: segment.endpoint.host, asked: segment.text, code: 'SIZE' })
  }
}

function mayGoOn(error: UpstreamError): boolean {
  return error.kind === 'timeout' || isTransient(error)
}
