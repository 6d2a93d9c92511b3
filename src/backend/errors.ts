import type { Content } from '../content/content.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type Name, type Reference, referenceText } from '../oci/name.ts'
import { UpstreamError } from '../upstream/error.ts'

/** The OciError for an UpstreamError; `unknown` makes the one for a 404. Other errors are returned as they are. */
export function ociErrorOf(error: unknown, unknown: () => OciError): unknown {
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

/** Whether a time limit of our own ended the wait (`AbortSignal.timeout`). */
export function isTimeoutReason(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError'
}

/** The 504 for an upstream that does not respond in time. */
export function timeoutError(origin: string): OciError {
  const error = new UpstreamError('timeout', `${origin} takes too long`, { endpoint: origin })
  return new OciError('UNAVAILABLE', { status: 504, detail: { reason: error.message }, cause: error })
}

/**
 * Whether stale content may be served in place of this error: whatever is no clear answer about the content, such as a
 * login page, a redirect that leads nowhere, or a status that no registry has for it.
 */
export function isNoAnswer(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && !answers.has(error.kind)
}

const answers = new Set<UpstreamError['kind']>(['not-found', 'unauthorized', 'denied', 'unsatisfiable'])

/** The blob is not in this repository, whether or not another has it. */
export function unknownBlob(name: Name, digest: Digest): OciError {
  return new OciError('BLOB_UNKNOWN', { detail: { name, digest } })
}

/** The repository has no such manifest. */
export function unknownManifest(name: Name, reference: Reference): OciError {
  return new OciError('MANIFEST_UNKNOWN', { detail: { name, reference: referenceText(reference) } })
}

/** There is no such repository. */
export function unknownName(name: Name): OciError {
  return new OciError('NAME_UNKNOWN', { detail: { name } })
}

/** `unknownManifest`, or `unknownName` if nothing is stored under `name`. */
export async function notStored(content: Content, name: Name, reference: Reference): Promise<OciError> {
  return (await content.names.has(name)) ? unknownManifest(name, reference) : unknownName(name)
}

/** A HEAD needs the size, and the upstream does not tell it. */
export function unknownSize(): OciError {
  return new OciError('UNAVAILABLE', { status: 502, detail: { reason: 'upstream does not tell the size of the blob' } })
}
