/**
 * The error codes of the distribution-spec ("Error Codes"), and three of ours for statuses from 500 on, which the spec
 * leaves open.
 */
export type ErrorCode = keyof typeof table

/** Status and message of a code. Particulars go into `detail`. */
export interface ErrorAnswer {
  status: number
  message: string
}

const table = {
  BLOB_UNKNOWN: { status: 404, message: 'blob unknown to registry' },
  BLOB_UPLOAD_INVALID: { status: 400, message: 'blob upload invalid' },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: 'blob upload unknown to registry' },
  DIGEST_INVALID: { status: 400, message: 'provided digest did not match uploaded content' },
  MANIFEST_BLOB_UNKNOWN: { status: 404, message: 'manifest references a manifest or blob unknown to registry' },
  MANIFEST_INVALID: { status: 400, message: 'manifest invalid' },
  MANIFEST_UNKNOWN: { status: 404, message: 'manifest unknown to registry' },
  NAME_INVALID: { status: 400, message: 'invalid repository name' },
  NAME_UNKNOWN: { status: 404, message: 'repository name not known to registry' },
  SIZE_INVALID: { status: 400, message: 'provided length did not match content length' },
  UNAUTHORIZED: { status: 401, message: 'authentication required' },
  DENIED: { status: 403, message: 'requested access to the resource is denied' },
  UNSUPPORTED: { status: 405, message: 'the operation is unsupported' },
  TOOMANYREQUESTS: { status: 429, message: 'too many requests' },
  UNKNOWN: { status: 500, message: 'unknown error' },
  UNAVAILABLE: { status: 503, message: 'service unavailable' },
  INSUFFICIENT_STORAGE: { status: 507, message: 'the registry cannot store more' }
} as const satisfies Record<string, ErrorAnswer>

/**
 * An error for the client: a code of the table, with particulars in `detail`. Any other error is for the operator, and
 * the client gets UNKNOWN.
 */
export class OciError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly detail: unknown
  /** Header fields of the response, e.g. `Retry-After` or `WWW-Authenticate`; a list is a field for each value. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>

  constructor(
    code: ErrorCode,
    options: { detail?: unknown; status?: number; headers?: Readonly<Record<string, string | readonly string[]>>; cause?: unknown } = {}
  ) {
    super(table[code].message, { cause: options.cause })
    this.name = 'OciError'
    this.code = code
    this.status = options.status ?? table[code].status
    this.detail = options.detail
    this.headers = options.headers ?? {}
  }

  /** The body of the response (distribution-spec, "Error Codes"). */
  toJSON(): { errors: [{ code: ErrorCode; message: string; detail?: unknown }] } {
    const detail = this.detail === undefined ? {} : { detail: this.detail }
    return { errors: [{ code: this.code, message: this.message, ...detail }] }
  }
}

/** Whether a text is a code of the table. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(table, text)
}

const unknownCodes: readonly ErrorCode[] = ['BLOB_UNKNOWN', 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN']

/** Whether an error of a source means unknown content: an OciError, or an upstream's error of the kind `not-found`. */
export function isNotFound(error: unknown): boolean {
  if (error instanceof OciError) return unknownCodes.includes(error.code)
  return error instanceof Error && 'kind' in error && error.kind === 'not-found'
}

/** Whether an error of a source means missing rights: UNAUTHORIZED or DENIED, or an upstream's error of these kinds. */
export function isDenied(error: unknown): boolean {
  if (error instanceof OciError) return error.code === 'UNAUTHORIZED' || error.code === 'DENIED'
  return error instanceof Error && 'kind' in error && (error.kind === 'unauthorized' || error.kind === 'denied')
}

/**
 * In how many milliseconds at the earliest another attempt may succeed; undefined if the error is permanent, as any is
 * that is neither an OciError nor says so itself (`retryableAfterMs`, as an upstream's error does).
 */
export function retryableAfterMs(error: unknown): number | undefined {
  if (error instanceof OciError) return error.code === 'UNAVAILABLE' || error.code === 'TOOMANYREQUESTS' ? 0 : undefined
  const own = error instanceof Error && 'retryableAfterMs' in error ? error.retryableAfterMs : undefined
  return typeof own === 'number' ? own : undefined
}

/** The message of an error in one line, with the reason of an OciError or with the cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const detail = error instanceof OciError ? (error.detail as { reason?: unknown } | undefined) : undefined
  const why = typeof detail?.reason === 'string' ? detail.reason : error.cause instanceof Error ? error.cause.message : undefined
  return why === undefined ? error.message : `${error.message}: ${why}`
}
