/**
 * Why a request to an upstream failed. `unreachable`: no connection. `broken`: a 5xx, a truncated body or a wrong
 * digest. `invalid`: a response that cannot be understood. `refused`: a redirect or a token realm that is not allowed.
 * `unsatisfiable`: 416. `limited`: 429, or 503 with Retry-After.
 */
export type UpstreamFault =
  | 'not-found'
  | 'unauthorized'
  | 'denied'
  | 'limited'
  | 'unreachable'
  | 'timeout'
  | 'broken'
  | 'invalid'
  | 'refused'
  | 'unsatisfiable'

/** Particulars of an UpstreamError. */
export interface UpstreamErrorOptions {
  /** Host and port of the endpoint. */
  endpoint: string
  status?: number
  /** Milliseconds until the endpoint accepts requests again. */
  retryAfter?: number
  /** The upstream's own error code, or that of the connection. */
  code?: string
  /** Of the blob, in bytes, if a 416 told it. */
  size?: number
  cause?: unknown
}

// It is cached and logged, and may name a host of 16 KiB.
const maxMessageLength = 1024

function shortened(message: string): string {
  // Copied: a substring would keep the whole.
  return message.length <= maxMessageLength ? message : Buffer.from(message.slice(0, maxMessageLength)).toString()
}

// Permanent: a retry a moment later fails in the same way.
const lasting = /^(CERT_|ERR_TLS|ERR_SSL|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|ENOTFOUND$|DIGEST$|SIZE$|EPROTO$)/

/** The code of a 401 to a stream, which cannot be sent again: another one would be sent with a new token. */
export const tokenRenewed = 'TOKEN_RENEWED'

/**
 * A request to an upstream failed, or its response cannot be used. The message names host, request and response, never
 * credentials or a query.
 */
export class UpstreamError extends Error {
  readonly kind: UpstreamFault
  readonly endpoint: string
  readonly status?: number
  readonly retryAfter?: number
  readonly code?: string
  readonly size?: number

  constructor(kind: UpstreamFault, message: string, { endpoint, status, retryAfter, code, size, cause }: UpstreamErrorOptions) {
    super(shortened(message), cause === undefined ? undefined : { cause })
    this.name = 'UpstreamError'
    this.kind = kind
    this.endpoint = endpoint
    if (status !== undefined) this.status = status
    if (retryAfter !== undefined) this.retryAfter = retryAfter
    if (code !== undefined) this.code = code
    if (size !== undefined) this.size = size
  }

  /** In how many milliseconds at the earliest the same request may succeed; undefined if the fault is permanent. */
  get retryableAfterMs(): number | undefined {
    const { kind, code = '' } = this
    if (kind === 'limited') return this.retryAfter ?? 0
    if (kind === 'unauthorized') return code === tokenRenewed ? 0 : undefined
    return kind === 'timeout' || ((kind === 'unreachable' || kind === 'broken') && !lasting.test(code)) ? 0 : undefined
  }
}

// For a 429 without Retry-After: short enough to notice its end, long enough to relieve the upstream.
const defaultPauseMs = 10_000
const shortestPauseMs = 1_000

/** Whether an upstream or its token service asks for fewer requests. */
export function isLimited(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && error.kind === 'limited'
}

/** How long in ms nothing is requested after a rate limit: its `Retry-After`, at least a second (at most an hour). */
export function pauseMsOf({ retryAfter = defaultPauseMs }: UpstreamError): number {
  return Math.max(retryAfter, shortestPauseMs)
}
