import type { IncomingHttpHeaders } from 'node:http'
import { parseJson } from '../oci/json.ts'
import { RefusedAddress } from './connection/address-rule.ts'
import { isHtml } from './connection/headers.ts'
import { UpstreamError, type UpstreamFault } from './error.ts'
import type { UpstreamMethod, UpstreamResource } from './options.ts'

const byCode: Record<string, UpstreamFault> = {
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  ETIMEDOUT: 'timeout',
  UND_ERR_HEADERS_OVERFLOW: 'invalid',
  UND_ERR_INVALID_ARG: 'invalid',
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: 'invalid',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'broken',
  UND_ERR_SOCKET: 'broken',
  ECONNRESET: 'broken',
  EPIPE: 'broken'
}

/** The error for a failed connection; `text` is the request without its query. */
export function connectionError(cause: unknown, endpoint: string, text: string): UpstreamError {
  if (cause instanceof UpstreamError) return cause
  const code = codeOf(cause)
  if (isRefusal(cause))
    return new UpstreamError('refused', `${endpoint}: ${text}: ${messageOf(cause)}`, { endpoint, code: 'ADDRESS', cause })
  const kind = code?.startsWith('HPE_') ? 'invalid' : (byCode[code ?? ''] ?? 'unreachable')
  return new UpstreamError(kind, `${endpoint}: ${text} failed: ${messageOf(cause)}`, {
    endpoint,
    ...(code === undefined ? {} : { code }),
    cause
  })
}

function isRefusal(cause: unknown): boolean {
  return cause instanceof RefusedAddress || (cause instanceof Error && cause.cause instanceof RefusedAddress)
}

function codeOf(cause: unknown): string | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined
  if ('code' in cause && typeof cause.code === 'string') return cause.code
  return cause instanceof AggregateError ? codeOf(cause.errors[0]) : undefined
}

// An AggregateError of several addresses has no message of its own.
function messageOf(cause: unknown): string {
  if (cause instanceof AggregateError) return messageOf(cause.errors[0])
  return cause instanceof Error ? cause.message || cause.name : 'unknown cause'
}

/**
 * The meaning of a status other than success; `own` if the registry itself responded, `foreign` if a host that it
 * redirected to.
 */
export function faultOfStatus(status: number, own: 'own' | 'foreign'): UpstreamFault {
  if (status === 404 || status === 410) return 'not-found'
  if (status === 408) return 'timeout'
  if (status === 416) return 'unsatisfiable'
  if (status === 429) return 'limited'
  if (status >= 500) return 'broken'
  // Object storage that refuses a signed URL says nothing about our rights at the registry.
  if (own === 'foreign' && (status === 401 || status === 403)) return 'broken'
  if (status === 401) return 'unauthorized'
  return status === 403 || status === 451 ? 'denied' : 'invalid'
}

/**
 * The meaning of a response other than a success to a request for content; `code` is that of its body. Only an answer
 * about the content may be taken for one: a login page behind a redirect knows nothing of it.
 */
export function faultOfResponse(
  { status, headers, code }: { status: number; headers: IncomingHttpHeaders; code: string | undefined },
  from: 'own' | 'foreign',
  { resource, method }: { resource: UpstreamResource; method: UpstreamMethod }
): UpstreamFault {
  const fault = faultOfStatus(status, from)
  // No range was requested.
  if (fault === 'unsatisfiable' && resource !== 'blob' && resource !== 'upload') return 'invalid'
  if (fault !== 'not-found' || from === 'own' || code !== undefined) return fault
  // A store has an error of its own for a blob, a registry that of the spec; a HEAD has none.
  return isHtml(headers) || (resource === 'manifest' && method === 'GET') ? 'invalid' : fault
}

// Some registries demand rights for HEAD that no user has, and object storage behind them may have signed the URL for
// GET only.
const headRefusals: readonly (number | undefined)[] = [401, 403, 405, 501]

/** Whether a GET may succeed where the upstream refused a HEAD. */
export function isHeadRefused(method: UpstreamMethod, error: unknown): error is UpstreamError {
  return method === 'HEAD' && error instanceof UpstreamError && error.code !== 'TOKEN' && headRefusals.includes(error.status)
}

/** The error for a response that cannot be used. `text` is the request without its query. */
export function unusableResponse(
  kind: 'broken' | 'invalid' | 'refused',
  reason: string,
  { endpoint, text, status }: { endpoint: URL; text: string; status?: number },
  code?: string
): UpstreamError {
  return new UpstreamError(kind, `${endpoint.host}: ${text}: ${reason}`, {
    endpoint: endpoint.host,
    ...(status === undefined ? {} : { status }),
    ...(code === undefined ? {} : { code })
  })
}

// Registries send one error, with its detail.
const maxErrorCost = 20_000

/** The first code of an error's body (distribution-spec, "Error Codes"). */
export function errorCode(body: Buffer): string | undefined {
  try {
    const { errors } = parseJson(body, maxErrorCost) as { errors?: { code?: unknown }[] }
    const code = errors?.[0]?.code
    return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : undefined
  } catch {
    return undefined
  }
}
