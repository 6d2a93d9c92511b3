import type { ClusterRequest } from './client.ts'

/** A request to the API server that was refused or had no answer. The message names verb, path and reason. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  /** Of HTTP; 0 without an answer. */
  readonly status: number
  /** Kubernetes' own word: `Conflict`, `Expired`, `Forbidden`, `NotFound`, `AlreadyExists`; empty without one. */
  readonly reason: string
  /** What the server asks for before the next request, in ms. */
  readonly retryAfterMs: number | undefined

  constructor(
    message: string,
    { status, reason, retryAfterMs, cause }: { status: number; reason: string; retryAfterMs?: number | undefined; cause?: unknown }
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.status = status
    this.reason = reason
    this.retryAfterMs = retryAfterMs
  }

  /** Whether the same request may succeed a moment later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

/** Whether an error is an answer of this status. */
export function hasStatus(error: unknown, status: number): error is ApiError {
  return error instanceof ApiError && error.status === status
}

/** The error of an answer, from the `Status` in its body (Kubernetes API conventions, "Response Status Kind"). */
export function errorOfAnswer({ method, path }: ClusterRequest, status: number, body: string, retryAfter: string | undefined): ApiError {
  const { message = '', reason = '' } = statusOf(body)
  const seconds = Number(retryAfter)
  const text = `${method} ${path.split('?')[0]}: ${message || `the API server answered ${status}`}`
  return new ApiError(text, { status, reason, ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}) })
}

function statusOf(body: string): { message?: string; reason?: string } {
  try {
    const { message, reason } = JSON.parse(body) as { message?: unknown; reason?: unknown }
    return { ...(typeof message === 'string' ? { message } : {}), ...(typeof reason === 'string' ? { reason } : {}) }
  } catch {
    return {}
  }
}
