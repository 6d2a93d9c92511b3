import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { UpstreamError } from '../error.ts'
import { connectionError } from '../failure.ts'
import type { UpstreamMethod } from '../options.ts'
import type { Connections } from './connections.ts'
import { fieldOf } from './headers.ts'
import { drain } from './read-body.ts'
import { dispatch, type ResponseBody } from './response-body.ts'

/** The body of a request: bytes that can be sent again, or a stream that cannot. */
export type RequestBody = { bytes: Uint8Array } | { stream: AsyncIterable<Uint8Array>; length?: number | undefined }

/** A request as it goes over the connection. */
export interface HttpRequest {
  method: UpstreamMethod
  url: URL
  headers: Record<string, string>
  /** Sent to the first host and to no other. */
  authorization?: string | undefined
  body?: RequestBody | undefined
}

/** An answer whose body is still to be read; `url` is who gave it, after redirects. */
export interface HttpResponse {
  status: number
  headers: IncomingHttpHeaders
  body: ResponseBody
  url: URL
}

const maxRedirects = 5
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const common = { 'accept-encoding': 'identity', 'user-agent': 'deckhouse-registry' }

/**
 * Sends a request. Redirects of a GET or HEAD are followed, each of them checked; those of other methods are refused. Throws UpstreamError, the signal's
 * reason, or what the request's own body threw.
 */
export async function send(
  connections: Connections,
  { method, url, headers, authorization, body }: HttpRequest,
  signal: AbortSignal
): Promise<HttpResponse> {
  let at = url
  for (let hops = 0; ; hops++) {
    const text = `${method} ${at.pathname}`
    const secret = authorization !== undefined && at.origin === url.origin ? { authorization } : {}
    const source = new RequestSource(body)
    const request = { method, headers: { ...common, ...headers, ...secret, ...lengthField(method, body) }, body: source.body }
    const response = await sendOnce(connections, at, request, signal).catch(cause => {
      signal.throwIfAborted()
      source.throwIfFailed()
      throw connectionError(cause, hostOf(at, url), text)
    })
    if (!redirects.has(response.status)) return response
    void drain(response.body)
    if (method !== 'GET' && method !== 'HEAD') throw refusal(at, url, text, 'was redirected')
    if (hops === maxRedirects) throw refusal(at, url, text, `redirected more than ${maxRedirects} times`)
    at = nextHop(at, url, text, fieldOf(response.headers, 'location'))
  }
}

// Without a length, a body is sent in chunked encoding, and a POST without a body would have none of both.
function lengthField(method: UpstreamMethod, body: RequestBody | undefined): Record<string, string> {
  if (!body) return method === 'GET' || method === 'HEAD' || method === 'DELETE' ? {} : { 'content-length': '0' }
  const length = 'bytes' in body ? body.bytes.length : body.length
  return length === undefined ? {} : { 'content-length': String(length) }
}

/** Tells an error of the body's source from one of the connection. */
class RequestSource {
  readonly body: Uint8Array | Readable | null
  #failure: { error: unknown } | undefined

  constructor(body: RequestBody | undefined) {
    // A stream, and not the iterator: it is destroyed where the request never begins.
    this.body = !body ? null : 'bytes' in body ? body.bytes : Readable.from(this.#watch(body.stream), { objectMode: false })
  }

  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  async *#watch(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    try {
      yield* stream
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }
}

async function sendOnce(
  connections: Connections,
  url: URL,
  request: { method: UpstreamMethod; headers: Record<string, string>; body: Uint8Array | Readable | null },
  signal: AbortSignal
): Promise<HttpResponse> {
  const dispatcher = connections.to(url)
  return { ...(await dispatch(dispatcher, { origin: url.origin, path: url.pathname + url.search, ...request }, signal)), url }
}

function nextHop(at: URL, first: URL, text: string, location: string | undefined): URL {
  const next = location === undefined ? null : URL.parse(location, at.href)
  if (!next) throw refusal(at, first, text, 'redirected to no URL')
  if (next.protocol !== 'https:' && next.protocol !== 'http:') throw refusal(at, first, text, `redirected to ${next.protocol}`)
  if (at.protocol === 'https:' && next.protocol === 'http:') throw refusal(at, first, text, `redirected from https to http on ${next.host}`)
  if (next.username !== '' || next.password !== '') throw refusal(at, first, text, 'redirected with credentials in the URL')
  next.hash = ''
  return next
}

function refusal(at: URL, first: URL, text: string, reason: string): UpstreamError {
  return new UpstreamError('refused', `${hostOf(at, first)}: ${text} ${reason}`, { endpoint: first.host, code: 'REDIRECT' })
}

/** The host that a message is about, and whose it is. */
export function hostOf(at: URL, first: URL): string {
  return at.host === first.host ? at.host : `${at.host} (for ${first.host})`
}
