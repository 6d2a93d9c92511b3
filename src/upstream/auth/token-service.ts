import { isJsonObject, parseJson } from '../../oci/json.ts'
import type { Connections } from '../connection/connections.ts'
import { fieldOf, retryAfterMs } from '../connection/headers.ts'
import { readBytes } from '../connection/read-body.ts'
import { type HttpResponse, send } from '../connection/send.ts'
import { UpstreamError } from '../error.ts'
import { connectionError, faultOfStatus } from '../failure.ts'

/** A token, and how many seconds it is valid. */
export interface TokenGrant {
  token: string
  lifetime: number
}

const maxResponseBytes = 256 * 1024
// A response has five fields.
const maxJsonCost = 2_000
// By the token specification, for a response without `expires_in`.
const defaultLifetimeSeconds = 60

/** A request for a token; `endpoint` is the host that errors name, `now` is in ms since the epoch. */
export interface TokenRequest {
  url: URL
  authorization?: string
  endpoint: string
  /** Whether a redirect may be followed to this URL: the answer of another service must not become a token. */
  follows: (next: URL) => boolean
  now: number
  signal: AbortSignal
}

/** Requests a token; UpstreamError if none is given. */
export async function requestToken(
  connections: Connections,
  { url, authorization, endpoint, follows, now, signal }: TokenRequest
): Promise<TokenGrant> {
  const text = `GET of a token from ${url.host}${url.pathname}`
  try {
    const headers = { accept: 'application/json' }
    const response = await send(connections, { method: 'GET', url, headers, authorization, purpose: 'token', follows }, signal)
    const bytes = await readBytes(response.body, maxResponseBytes)
    if (response.status !== 200) throw refused(response, endpoint, text, now)
    const grant = parseGrant(bytes)
    if (grant) return grant
    throw new UpstreamError('invalid', `${endpoint}: ${text} gave none`, { endpoint, status: 200, code: 'TOKEN' })
  } catch (cause) {
    if (signal.aborted) throw new UpstreamError('timeout', `${endpoint}: ${text} took too long`, { endpoint, code: 'TOKEN', cause })
    throw connectionError(cause, endpoint, text)
  }
}

function refused({ status, headers }: HttpResponse, endpoint: string, text: string, now: number): UpstreamError {
  // A token service has no content: a 404 means that the realm is wrong.
  const fault = faultOfStatus(status, 'own')
  const kind = fault === 'not-found' || fault === 'unsatisfiable' ? 'invalid' : fault
  const retryAfter = retryAfterMs(fieldOf(headers, 'retry-after'), now)
  const pause = retryAfter === undefined ? {} : { retryAfter }
  return new UpstreamError(kind, `${endpoint}: ${text} answered ${status}`, { endpoint, status, code: 'TOKEN', ...pause })
}

/** Reads the response of a token service; undefined if it has no usable token. */
export function parseGrant(bytes: Buffer): TokenGrant | undefined {
  let answer: unknown
  try {
    answer = parseJson(bytes, maxJsonCost)
  } catch {
    return undefined
  }
  if (!isJsonObject(answer)) return undefined
  const { token, access_token: accessToken, expires_in: lifetime } = answer
  const text = token || accessToken
  // It becomes a header field, and a line break would begin another one.
  if (typeof text !== 'string' || !/^[\x21-\x7e]{1,65536}$/.test(text)) return undefined
  const usable = typeof lifetime === 'number' && Number.isFinite(lifetime) && lifetime > 0
  return { token: text, lifetime: usable ? lifetime : defaultLifetimeSeconds }
}
