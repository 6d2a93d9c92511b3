import type { IncomingHttpHeaders } from 'node:http'
import { UpstreamError } from '../error.ts'
import { connectionError } from '../failure.ts'
import type { Connections } from './connections.ts'
import { fieldOf } from './headers.ts'
import { drain } from './read-body.ts'
import { dispatch, type ResponseBody } from './response-body.ts'

/** A request as it goes over the wire. */
export interface HttpRequest {
  method: 'GET' | 'HEAD'
  url: URL
  headers: Record<string, string>
  /** Goes to the first host and to no other. */
  authorization?: string | undefined
}

/** An answer whose body is still to be read; `url` is who gave it, after redirects. */
export interface HttpResponse {
  status: number
  headers: IncomingHttpHeaders
  body: ResponseBody
  url: URL
}

const mostRedirects = 5
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const common = { 'accept-encoding': 'identity', 'user-agent': 'deckhouse-registry' }

/** Sends a request and follows redirects, each of which is checked. Throws UpstreamError or the signal's reason. */
export async function send(
  connections: Connections,
  { method, url, headers, authorization }: HttpRequest,
  signal: AbortSignal
): Promise<HttpResponse> {
  let at = url
  for (let hops = 0; ; hops++) {
    const asked = `${method} ${at.pathname}`
    const secret = authorization !== undefined && at.origin === url.origin ? { authorization } : {}
    const received = await sendOnce(connections, method, at, { ...common, ...headers, ...secret }, signal).catch(cause => {
      signal.throwIfAborted()
      throw connectionError(cause, hostOf(at, url), asked)
    })
    if (!redirects.has(received.status)) return received
    void drain(received.body)
    if (hops === mostRedirects) throw refusal(at, url, asked, `redirected more than ${mostRedirects} times`)
    at = nextHop(at, url, asked, fieldOf(received.headers, 'location'))
  }
}

async function sendOnce(connections: Connections, method: 'GET' | 'HEAD', url: URL, headers: Record<string, string>, signal: AbortSignal) {
  const dispatcher = connections.to(url)
  const path = url.pathname + url.search
  return { ...(await dispatch(dispatcher, { origin: url.origin, path, method, headers }, signal)), url }
}

function nextHop(at: URL, first: URL, asked: string, location: string | undefined): URL {
  const next = location === undefined ? null : URL.parse(location, at.href)
  if (!next) throw refusal(at, first, asked, 'redirected to no URL')
  if (next.protocol !== 'https:' && next.protocol !== 'http:') throw refusal(at, first, asked, `redirected to ${next.protocol}`)
  if (at.protocol === 'https:' && next.protocol === 'http:')
    throw refusal(at, first, asked, `redirected from https to http on ${next.host}`)
  if (next.username !== '' || next.password !== '') throw refusal(at, first, asked, 'redirected with credentials in the URL')
  next.hash = ''
  return next
}

function refusal(at: URL, first: URL, asked: string, reason: string): UpstreamError {
  return new UpstreamError('refused', `${hostOf(at, first)}: ${asked} ${reason}`, { endpoint: first.host, code: 'REDIRECT' })
}

/** The host that a message is about, and whose it is. */
export function hostOf(at: URL, first: URL): string {
  return at.host === first.host ? at.host : `${at.host} (for ${first.host})`
}
