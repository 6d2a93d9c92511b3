/**
 * Why an upstream gave nothing: `unreachable` no connection, `broken` an answer of 5xx, a cut connection or wrong bytes, `invalid` an answer that makes no sense,
 * `refused` an answer that is not followed (a redirect or a token realm to where it must not go), `unsatisfiable` the range lies outside the blob.
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
  /** Milliseconds until it may be asked again. */
  retryAfter?: number
  /** The upstream's own error code, or that of the connection. */
  code?: string
  /** The blob's size, where an unsatisfiable range told it. */
  size?: number
  cause?: unknown
}

/** The upstream could not be asked, or its answer could not be used. The message names host, request and answer, never credentials or a query. */
export class UpstreamError extends Error {
  readonly kind: UpstreamFault
  readonly endpoint: string
  readonly status?: number
  readonly retryAfter?: number
  readonly code?: string
  readonly size?: number

  constructor(kind: UpstreamFault, message: string, { endpoint, status, retryAfter, code, size, cause }: UpstreamErrorOptions) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'UpstreamError'
    this.kind = kind
    this.endpoint = endpoint
    if (status !== undefined) this.status = status
    if (retryAfter !== undefined) this.retryAfter = retryAfter
    if (code !== undefined) this.code = code
    if (size !== undefined) this.size = size
  }
}
