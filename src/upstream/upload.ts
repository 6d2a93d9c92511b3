import { randomUUID } from 'node:crypto'
import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { type Chunk, parseSessionId, type SessionId, UploadOffsetError, type UploadSession } from '../oci/sink.ts'
import { fieldOf } from './connection/headers.ts'
import { drain } from './connection/read-body.ts'
import type { RequestBody } from './connection/send.ts'
import type { UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import { type FailoverClient, isTransient } from './failover.ts'
import { unusableResponse } from './failure.ts'

/** Dependencies of an UpstreamUpload. */
export interface UploadDeps {
  client: FailoverClient
  name: string
  scope: string
  /** Counts a request as in flight; throws if the upstream is closed. */
  run: <T>(task: () => Promise<T>) => Promise<T>
  /** Whether the upstream has a blob. */
  has: (digest: Digest, signal: AbortSignal) => Promise<boolean>
  /** Called when the session has ended. */
  onEnd: (id: SessionId) => void
}

const neverAborted = new AbortController().signal

/**
 * An upload session of another registry (distribution-spec, "Pushing blobs"), at the endpoint that started it. Only the
 * GET of `refresh` is retried. After an error call `refresh`, then append from `offset`.
 */
export class UpstreamUpload implements UploadSession {
  /** Known in this process only; the registry's own id is part of the location. */
  readonly id: SessionId
  /** `OCI-Chunk-Min-Length`; 0 if the registry sent none. */
  readonly minChunkBytes: number
  readonly #deps: UploadDeps
  readonly #endpoint: URL
  /** A URL of the endpoint or on another host. */
  #location: string
  #offset = 0
  /** The largest offset that the session can have reached. */
  #attempted = 0
  /** Whether `Range: 0-0` means one byte; registries send it for an empty session too. */
  #singleByte = false

  /** `answer` is the 202 that started the session. */
  constructor(answer: UpstreamResponse, deps: UploadDeps) {
    const id = parseSessionId(randomUUID())
    if (!id) throw new Error('a random UUID is no session id')
    this.id = id
    this.#deps = deps
    this.#endpoint = answer.endpoint
    const minimum = fieldOf(answer.headers, 'oci-chunk-min-length') ?? ''
    this.minChunkBytes = /^\d{1,15}$/.test(minimum) ? Number(minimum) : 0
    const location = locationOf(answer)
    if (location === undefined) throw invalid(answer, 'an upload session without a usable Location')
    this.#location = location
  }

  get offset(): number {
    return this.#offset
  }

  async refresh(signal: AbortSignal = neverAborted): Promise<void> {
    const request = this.#request('GET')
    await this.#deps.run(() =>
      this.#deps.client.runAt(this.#endpoint, request, signal, async answer => {
        await drain(answer.body)
        this.#offset = this.#offsetIn(answer) ?? this.#offset
        this.#relocate(answer)
      })
    )
  }

  async append({ body, offset = this.#offset, length, signal }: Chunk): Promise<number> {
    if (offset !== this.#offset) throw new UploadOffsetError(this.#offset)
    if (length === 0) return this.#offset
    const counted = count(body)
    const request = this.#request('PATCH', { stream: counted.body, length })
    await this.#deps
      .run(() =>
        this.#deps.client.writeAt(this.#endpoint, request, signal, async answer => {
          await drain(answer.body)
          this.#offset = this.#offsetIn(answer) ?? offset + counted.bytes
          this.#relocate(answer)
        })
      )
      .finally(() => {
        this.#attempted = Math.max(this.#attempted, offset + counted.bytes)
      })
      .catch(error => this.#refused(error, signal))
    return this.#offset
  }

  async finish(digest: Digest, last?: Chunk, finishSignal: AbortSignal = neverAborted): Promise<Descriptor> {
    const { offset = this.#offset, length, signal = finishSignal } = last ?? {}
    if (offset !== this.#offset) throw new UploadOffsetError(this.#offset)
    const counted = last && count(last.body)
    const request = this.#request('PUT', counted && { stream: counted.body, length }, digest)
    const size = () => offset + (counted?.bytes ?? 0)
    try {
      await this.#deps.run(() =>
        this.#deps.client.writeAt(this.#endpoint, request, signal, async answer => {
          await drain(answer.body)
          checkCreated(answer, digest)
        })
      )
    } catch (error) {
      this.#attempted = Math.max(this.#attempted, size())
      if (!(await this.#isPublished(error, digest, signal))) throw await this.#refused(error, signal).catch(cause => cause)
    }
    this.#deps.onEnd(this.id)
    return { mediaType: mediaTypes.blob, digest, size: size() }
  }

  /** Succeeds for a session that the registry has ended already. */
  async cancel(): Promise<void> {
    this.#deps.onEnd(this.id)
    const request = this.#request('DELETE')
    try {
      await this.#deps.run(() => this.#deps.client.writeAt(this.#endpoint, request, neverAborted, answer => drain(answer.body)))
    } catch (error) {
      if (!(error instanceof UpstreamError && error.kind === 'not-found')) throw error
    }
  }

  #request(
    method: 'GET' | 'PATCH' | 'PUT' | 'DELETE',
    body?: RequestBody & { length?: number | undefined },
    digest?: Digest
  ): UpstreamRequest {
    // A location's query is opaque, so it is extended as text.
    const query = digest === undefined ? '' : `${this.#location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
    const { length } = body ?? {}
    const range = length ? { 'content-range': `${this.#offset}-${this.#offset + length - 1}` } : {}
    return {
      resource: 'upload',
      method,
      path: this.#location + query,
      scope: this.#deps.scope,
      ...(body ? { body, headers: { 'content-type': 'application/octet-stream', ...range } } : {})
    }
  }

  // `Upload-Offset` (IETF resumable uploads) is exact; `Range: 0-0` means one byte or none.
  #offsetIn({ headers }: UpstreamResponse): number | undefined {
    const exact = fieldOf(headers, 'upload-offset') ?? ''
    if (/^\d{1,15}$/.test(exact)) return Number(exact)
    const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(fieldOf(headers, 'range') ?? '')?.[1]
    if (last === undefined) return undefined
    if (last === '0') return this.#singleByte && this.#attempted > 0 ? 1 : 0
    return Number(last) + 1
  }

  #relocate(answer: UpstreamResponse): void {
    this.#location = locationOf(answer) ?? this.#location
  }

  // A 416 says that the session has another offset.
  async #refused(error: unknown, signal: AbortSignal): Promise<never> {
    if (!(error instanceof UpstreamError) || error.kind !== 'unsatisfiable') throw error
    const before = this.#offset
    await this.refresh(signal)
    if (this.#offset === 0 && before === 0) {
      this.#singleByte = !this.#singleByte
      await this.refresh(signal)
    }
    throw new UploadOffsetError(this.#offset)
  }

  // The response to a PUT may be lost after the registry has published the blob. Then the session is unknown, and the
  // blob exists.
  async #isPublished(error: unknown, digest: Digest, signal: AbortSignal): Promise<boolean> {
    if (!(error instanceof UpstreamError) || !(isTransient(error) || error.kind === 'timeout' || error.kind === 'not-found')) return false
    return this.#deps.has(digest, signal).catch(() => false)
  }
}

function count(source: AsyncIterable<Uint8Array>): { body: AsyncIterable<Uint8Array>; readonly bytes: number } {
  let bytes = 0
  async function* body(): AsyncGenerator<Uint8Array, void> {
    for await (const piece of source) {
      bytes += piece.length
      yield piece
    }
  }
  return {
    body: body(),
    get bytes() {
      return bytes
    }
  }
}

function checkCreated(answer: UpstreamResponse, digest: Digest): void {
  if (answer.status === 202 || answer.status === 304) throw invalid(answer, `${answer.status} does not say that the blob is stored`)
  const named = fieldOf(answer.headers, 'docker-content-digest')
  if (named !== undefined && named !== digest && named.split(':')[0] === digest.split(':')[0])
    throw unusableResponse('broken', `stored as ${named}`, answer, 'DIGEST')
}

/**
 * The location of a session. On the endpoint's own host only path and query count: behind a reverse proxy a registry
 * often has its own scheme or port wrong. Another host is used as it is, but never over plain HTTP if the endpoint has
 * TLS, and it gets no credentials. Undefined if it cannot be used.
 *
 * Credentials go only to URLs that the endpoint itself named: another host that names one of the endpoint is refused,
 * since it could have us write anywhere on the endpoint with our rights.
 */
function locationOf(answer: UpstreamResponse): string | undefined {
  const { headers, endpoint, url: answered } = answer
  const field = fieldOf(headers, 'location')
  const url = field === undefined ? null : URL.parse(field, answered.href)
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return undefined
  const isOwn = answered.origin === endpoint.origin
  if (!isOwn && url.origin === endpoint.origin)
    throw unusableResponse('refused', `${answered.host} named a Location on ${endpoint.host}`, answer, 'REDIRECT')
  // A whole URL, since a path that begins with `//` would name another host.
  if (isOwn && url.hostname === endpoint.hostname) return endpoint.origin + url.pathname + url.search
  if (url.username !== '' || url.password !== '' || (endpoint.protocol === 'https:' && url.protocol === 'http:')) return undefined
  return url.origin + url.pathname + url.search
}

function invalid(response: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('invalid', reason, response)
}
