import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { UpstreamError } from '../error.ts'
import { connectionError } from '../failure.ts'
import type { UpstreamMethod } from '../options.ts'
import type { Purpose } from './address-rule.ts'
import type { Cargo, Connections } from './connections.ts'
import { fieldOf } from './headers.ts'
import { drain } from './read-body.ts'
import { dispatch, type ResponseBody } from './response-body.ts'

/** The body of a request. Bytes can be sent again, a stream cannot. `length` is in bytes. */
export type RequestBody = { bytes: Uint8Array } | { stream: AsyncIterable<Uint8Array>; length?: number | undefined }

/** A request for one URL. */
export interface HttpRequest {
  method: UpstreamMethod
  url: URL
  headers: Record<string, string>
  /** Sent to the first host only, and never again after a redirect to another one. */
  authorization?: string | undefined
  body?: RequestBody | undefined
  /** By default `content`. */
  purpose?: Purpose
  /** By default `small`. */
  cargo?: Cargo
  /** Whether a redirect may be followed to this URL; by default to any that the address rule allows. */
  follows?: (next: URL) => boolean
}

/** The body of a request failed; `cause` is its error, which may be an UpstreamError of another upstream. */
export class RequestBodyError extends Error {
  override readonly name = 'RequestBodyError'
}

/** A response whose body is still to be read; `url` is the last one after redirects. */
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
 * Sends a request. Redirects of a GET or HEAD are checked and followed, those of other methods refused. Throws
 * UpstreamError, the signal's reason, or a RequestBodyError.
 */
export async function send(
  connections: Connections,
  { method, url, headers, authorization, body, purpose = 'content', cargo = 'small', follows }: HttpRequest,
  signal: AbortSignal
): Promise<HttpResponse> {
  let at = url
  let secret = authorization === undefined ? {} : { authorization }
  for (let hops = 0; ; hops++) {
    const text = `${method} ${at.pathname}`
    const source = new RequestSource(body)
    const request = { method, headers: { ...common, ...headers, ...secret, ...lengthField(method, body) }, body: source.body }
    const response = await sendOnce(connections, { url: at, purpose, cargo }, request, signal).catch(cause => {
      signal.throwIfAborted()
      source.throwIfFailed()
      throw connectionError(cause, hostOf(at, url), text)
    })
    if (!redirects.has(response.status)) return response
    void drain(response.body)
    if (method !== 'GET' && method !== 'HEAD') throw refusal(at, url, text, 'was redirected')
    if (hops === maxRedirects) throw refusal(at, url, text, `redirected more than ${maxRedirects} times`)
    at = nextHop(at, url, text, fieldOf(response.headers, 'location'))
    if (follows?.(at) === false) throw refusal(at, url, text, 'was redirected there, which the settings do not allow')
    if (at.origin !== url.origin) secret = {}
  }
}

// A POST, PATCH or PUT without a body needs `content-length: 0`. A body without a length is sent in chunked encoding.
function lengthField(method: UpstreamMethod, body: RequestBody | undefined): Record<string, string> {
  if (!body) return method === 'GET' || method === 'HEAD' || method === 'DELETE' ? {} : { 'content-length': '0' }
  const length = 'bytes' in body ? body.bytes.length : body.length
  return length === undefined ? {} : { 'content-length': String(length) }
}

/** The body of a request as undici takes it; tells an error of its source from one of the connection. */
class RequestSource {
  readonly body: Uint8Array | Readable | null
  #failure: { error: unknown } | undefined

  constructor(body: RequestBody | undefined) {
    // A Readable, since undici destroys it if the request never begins; it would leave an iterator open.
    this.body = !body ? null : 'bytes' in body ? body.bytes : Readable.from(this.#watch(body.stream), { objectMode: false })
  }

  throwIfFailed(): void {
    if (this.#failure) throw new RequestBodyError('the body of the request failed', { cause: this.#failure.error })
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
  { url, purpose, cargo }: { url: URL; purpose: Purpose; cargo: Cargo },
  request: { method: UpstreamMethod; headers: Record<string, string>; body: Uint8Array | Readable | null },
  signal: AbortSignal
): Promise<HttpResponse> {
  const dispatcher = connections.to(url, purpose, cargo)
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

/** The host for a message, with the endpoint that redirected to it. */
export function hostOf(at: URL, first: URL): string {
  return at.host === first.host ? at.host : `${at.host} (for ${first.host})`
}
