import { OciError } from '../oci/errors.ts'
import { UpstreamError } from '../upstream/error.ts'

/** What a client is told when upstream does not give what was asked for; `unknown` is the answer to a true 404. Other errors are given back as they are. */
export function toOciError(error: unknown, unknown: () => OciError): unknown {
  if (!(error instanceof UpstreamError)) return error
  const detail = { reason: error.message }
  switch (error.kind) {
    case 'not-found':
      return unknown()
    case 'unauthorized':
    case 'denied':
      return new OciError('DENIED', { detail, cause: error })
    case 'limited':
      return new OciError('TOOMANYREQUESTS', {
        detail,
        headers: { 'retry-after': String(Math.ceil((error.retryAfter ?? 1_000) / 1_000)) },
        cause: error
      })
    case 'unsatisfiable':
      return new OciError('SIZE_INVALID', {
        status: 416,
        detail,
        headers: { 'content-range': `bytes */${error.size ?? '*'}` },
        cause: error
      })
    case 'timeout':
      return new OciError('UNAVAILABLE', { status: 504, detail, cause: error })
    default:
      return new OciError('UNAVAILABLE', { status: 502, detail, cause: error })
  }
}

/** Whether somebody's own time limit ended the waiting. */
export function isTimeoutReason(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError'
}

/** What a client is told whose answer cannot begin in time. */
export function timeoutError(origin: string): OciError {
  const error = new UpstreamError('timeout', `${origin} takes too long`, { endpoint: origin })
  return new OciError('UNAVAILABLE', { status: 504, detail: { reason: error.message }, cause: error })
}

/** Whether the last known answer is to be served: upstream could not be asked, or did not want to be. A refusal (401, 403) and a true 404 are answers. */
export function isTransient(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && passing.has(error.kind)
}

const passing = new Set<UpstreamError['kind']>(['limited', 'unreachable', 'timeout', 'broken'])
