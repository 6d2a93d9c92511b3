import type { RateShare } from '../../storage/rate-limiter.ts'
import type { RangeRequest } from '../oci/range.ts'
import { checkReplica } from './blob-stat.ts'
import { abandon } from './connection/read-body.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import { type FailoverClient, isTransient } from './failover.ts'
import { connectionError, unusableResponse } from './failure.ts'
import type { UpstreamEvent } from './options.ts'
import { openSegment, rangeField, type Segment } from './segment.ts'

// Resumes in a row that bring no byte. With their pauses they bridge some seconds, in which a registry restarts.
const maxStalledResumes = 5
// A body that breaks more often than once per MiB will not end.
const freeResumes = 16
const bytesPerResume = 1024 * 1024
// Of a replica that answers and sends nothing, such as a cache whose upstream is slow: doubled with each resume that
// brings nothing, since the next replica may have to fetch the blob from its beginning.
const firstPatienceMs = 5_000

/** A blob that is being downloaded. */
export interface BlobDownload {
  /** Of the whole blob, in bytes, if upstream told it. */
  readonly size?: number
  /** The position in the blob where `chunks` begins. */
  readonly offset: number
  /** In order, readable once. Broken connections are resumed inside. Throws UpstreamError or the signal's reason. */
  readonly chunks: AsyncIterable<Buffer>
  /** Closes the connection. Call it if `chunks` are not read to their end. */
  cancel(): void
  /** Call it if the bytes were not those of the digest. */
  wrong(): void
}

interface BlobStreamDeps {
  client: FailoverClient
  observe: (event: UpstreamEvent) => void
  signal: AbortSignal
  onEnd: () => void
  /** Its share of the rate limit for what comes from upstreams. */
  share?: RateShare | undefined
}

/**
 * Downloads a blob or a range of it, and resumes with `Range` where a connection breaks, at another endpoint if need
 * be.
 */
export class BlobStream {
  readonly #client: FailoverClient
  readonly #request: UpstreamRequest
  readonly #observe: (event: UpstreamEvent) => void
  readonly #cancelled = new AbortController()
  readonly #signal: AbortSignal
  readonly #onEnd: () => void
  readonly #share: RateShare | undefined
  #segment: Segment
  /** The endpoints that bytes came from. */
  readonly #givers = new Set<URL>()
  /** The position of the next byte. */
  #offset: number
  #started = false
  #ended = false
  #size: number | undefined
  #until: number | undefined
  #resumes = 0
  #stalledResumes = 0
  #received = 0

  private constructor(
    segment: Segment,
    { client, request, observe, signal, left, onEnd, share }: BlobStreamDeps & { request: UpstreamRequest; left: AbortController }
  ) {
    this.#client = client
    this.#request = request
    this.#observe = observe
    this.#cancelled = left
    this.#signal = signal
    this.#onEnd = onEnd
    this.#share = share
    this.#segment = segment
    this.#offset = segment.from
    this.#size = segment.size
    this.#until = segment.until
  }

  /**
   * Resolves with the head of the response. `onEnd` is called once when the body has ended, failed or been cancelled;
   * not if opening fails.
   */
  static async open(request: UpstreamRequest, range: RangeRequest | undefined, { signal, ...deps }: BlobStreamDeps): Promise<BlobStream> {
    const left = new AbortController()
    const either = AbortSignal.any([signal, left.signal])
    const open = (answer: UpstreamResponse) => segmentOf(answer, range, deps.client, request)
    const segment = await deps.client.run({ ...request, headers: rangeField(range) }, either, open)
    return new BlobStream(segment, { ...deps, request, signal: either, left })
  }

  download(): BlobDownload {
    const size = this.#size
    return {
      ...(size === undefined ? {} : { size }),
      offset: this.#segment.from,
      chunks: this.#chunksOnce(),
      cancel: () => this.#cancel(),
      wrong: () => this.#client.wrong([...this.#givers], this.#request.path)
    }
  }

  #cancel(): void {
    this.#cancelled.abort()
    abandon(this.#segment.body)
    if (!this.#started) this.#end()
  }

  #chunksOnce(): AsyncIterableIterator<Buffer> {
    const chunks = this.#chunks()
    const iterator: AsyncIterableIterator<Buffer> = {
      [Symbol.asyncIterator]: () => iterator,
      next: () => chunks.next(),
      // A generator that never began runs no `finally`.
      return: () => {
        if (!this.#started) this.#cancel()
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

  // Yields the bytes of the segment; returns the reason if it ended early.
  async *#read(): AsyncGenerator<Buffer, UpstreamError | 'partial' | undefined, undefined> {
    const { body, endpoint, text } = this.#segment
    const before = this.#received
    let result: 'complete' | 'broken' | 'cancelled' = 'cancelled'
    let position = this.#segment.begins
    this.#givers.add(endpoint)
    this.#watchSilence(this.#segment)
    try {
      for await (const chunk of body) {
        const begins = position
        position += chunk.length
        this.#checkLength(position)
        const wanted = chunk.subarray(Math.max(this.#offset - begins, 0), this.#until === undefined ? undefined : this.#until - begins)
        this.#received += chunk.length
        // The body is paused meanwhile, and `bodyTimeout` does not run.
        if (this.#share) await this.#share.take(chunk.length, this.#signal)
        if (this.#offset > position || wanted.length === 0) continue
        this.#offset += wanted.length
        this.#stalledResumes = 0
        yield wanted
        if (this.#offset === this.#until && position < (this.#segment.ends ?? Number.POSITIVE_INFINITY)) break
      }
      if (this.#offset !== this.#until) this.#checkEnd(position)
      result = 'complete'
      return this.#until === undefined || this.#offset >= this.#until || this.#segment.ends === undefined ? undefined : 'partial'
    } catch (cause) {
      this.#signal.throwIfAborted()
      result = 'broken'
      const error = connectionError(cause, endpoint.host, text)
      this.#client.report(endpoint, error)
      return error
    } finally {
      this.#observe({ type: 'body', endpoint: endpoint.host, bytes: this.#received - before, result })
    }
  }

  // A replica that is frozen or cut off ends no connection.
  #watchSilence({ body, endpoint, text }: Segment): void {
    const { replicas } = this.#client
    if (!replicas) return
    const patienceMs = firstPatienceMs * 2 ** this.#stalledResumes
    const { host } = endpoint
    body.onSilence(replicas.silenceMs, async () => {
      const alive = await this.#client.probe(endpoint)
      const { silentMs } = body
      if (silentMs < (alive ? patienceMs : replicas.silenceMs)) return
      body.giveUp(new UpstreamError('timeout', `${host}: ${text}: no byte came for ${Math.round(silentMs)} ms`, { endpoint: host }))
    })
  }

  #checkLength(position: number): void {
    const limit = this.#segment.ends ?? this.#size
    if (limit !== undefined && position > limit) throw this.#broken('more bytes than declared')
  }

  #checkEnd(position: number): void {
    const declared = this.#segment.ends ?? this.#size
    if (declared !== undefined && position < declared) throw this.#broken('fewer bytes than declared')
    if (position >= this.#offset) return
    if (this.#resumes > 0) throw this.#broken('fewer bytes than before')
    const { endpoint, text } = this.#segment
    const message = `${endpoint.host}: ${text}: the range begins past the end`
    throw new UpstreamError('unsatisfiable', message, { endpoint: endpoint.host, size: position })
  }

  #broken(reason: string): UpstreamError {
    const { endpoint, text } = this.#segment
    return unusableResponse('broken', reason, { endpoint, text }, 'SIZE')
  }

  // Opens a segment from the next byte on; false if no byte is left.
  async #resume(cause: UpstreamError | 'partial'): Promise<boolean> {
    let error = cause
    for (;;) {
      if (error !== 'partial' && !isResumable(error)) throw error
      this.#countResume(error)
      if (this.#stalledResumes > 1) await this.#client.pause(this.#stalledResumes + 1, this.#signal)
      try {
        return await this.#reopen()
      } catch (failure) {
        this.#signal.throwIfAborted()
        if (!(failure instanceof UpstreamError)) throw failure
        error = failure
      }
    }
  }

  #countResume(error: UpstreamError | 'partial'): void {
    this.#resumes++
    this.#stalledResumes++
    if (this.#stalledResumes <= maxStalledResumes && this.#resumes <= freeResumes + this.#received / bytesPerResume) return
    throw error === 'partial' ? this.#broken('the upstream sends only parts of it') : error
  }

  async #reopen(): Promise<boolean> {
    const range = { first: this.#offset, ...(this.#until === undefined ? {} : { last: this.#until - 1 }) }
    try {
      const request = { ...this.#request, headers: rangeField(range) }
      const segment = await this.#client.run(request, this.#signal, answer =>
        this.#checkSameBlob(segmentOf(answer, range, this.#client, this.#request))
      )
      this.#observe({ type: 'resume', endpoint: segment.endpoint.host, offset: this.#offset })
      this.#segment = segment
      this.#size ??= segment.size
      this.#until ??= segment.until
      return true
    } catch (error) {
      // The connection broke after the last byte.
      if (error instanceof UpstreamError && error.kind === 'unsatisfiable' && error.size === this.#offset) return false
      throw error
    }
  }

  // If-Range has no validator to send, since the digest is the same: only another size shows that the bytes are another
  // blob's.
  #checkSameBlob(segment: Segment): Segment {
    if (this.#size === undefined || segment.size === undefined || segment.size === this.#size) return segment
    abandon(segment.body)
    const reason = `the blob had ${this.#size} bytes and has ${segment.size} now`
    const { endpoint, text } = segment
    throw unusableResponse('broken', reason, { endpoint, text }, 'SIZE')
  }
}

function segmentOf(
  answer: UpstreamResponse,
  range: RangeRequest | undefined,
  { replicas }: FailoverClient,
  { path }: UpstreamRequest
): Segment {
  if (!replicas) return openSegment(answer, range)
  try {
    checkReplica(answer, path.slice(path.lastIndexOf('/') + 1))
  } catch (error) {
    abandon(answer.body)
    throw error
  }
  return openSegment(answer, range)
}

function isResumable(error: UpstreamError): boolean {
  return error.kind === 'timeout' || isTransient(error)
}
