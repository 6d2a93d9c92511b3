import { type Digest, parseDigest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type Name, parseName, parseReference, type Reference } from '../oci/name.ts'
import { parseSessionId, type SessionId } from '../oci/sink.ts'

/** A parsed path; `endpoint` is also the `route` of logs and metrics. */
export type Route =
  | { endpoint: 'root' | 'base' | 'catalog' | 'discover' | 'token'; name?: Name }
  | { endpoint: 'tags' | 'uploads'; name: Name }
  | { endpoint: 'manifest'; name: Name; reference: Reference }
  | { endpoint: 'blob'; name: Name; digest: Digest }
  | { endpoint: 'referrers'; name: Name; digest: Digest }
  | { endpoint: 'upload'; name: Name; session: SessionId }

/** The endpoints of the distribution-spec, the two roots `/` and `/v2/`, and that of tokens. */
export type Endpoint = Route['endpoint']

const prefix = '/v2/'

/**
 * Parses a path without its query, from the right, since a name can have a component like `blobs`. Throws NAME_INVALID,
 * DIGEST_INVALID and the like (400), and UNSUPPORTED (404) for a path of no endpoint.
 */
export function parseRoute(rawPath: string): Route {
  const path = decode(rawPath)
  if (path === '/') return { endpoint: 'root' }
  if (path === '/v2' || path === prefix) return { endpoint: 'base' }
  if (!path.startsWith(prefix)) throw noEndpoint()
  const parts = path.slice(prefix.length).split('/')
  // The spec's `POST …/blobs/uploads/` ends in a slash.
  if (parts.at(-1) === '' && parts.at(-2) === 'uploads') parts.pop()
  return parseExtension(parts) ?? parseEndpoint(parts)
}

function parseExtension(parts: string[]): Route | undefined {
  if (parts.length === 1 && parts[0] === '_catalog') return { endpoint: 'catalog' }
  // A path of a repository has three components at least, also that of one with this name.
  if (parts.length === 1 && parts[0] === 'token') return { endpoint: 'token' }
  if (parts.slice(-3).join('/') !== '_oci/ext/discover') return undefined
  return parts.length === 3 ? { endpoint: 'discover' } : { endpoint: 'discover', name: nameOf(parts, 3) }
}

function parseEndpoint(parts: string[]): Route {
  const last = parts.at(-1) ?? ''
  const kind = parts.at(-2)
  if (kind === 'tags' && last === 'list') return { endpoint: 'tags', name: nameOf(parts, 2) }
  if (kind === 'blobs' && last === 'uploads') return { endpoint: 'uploads', name: nameOf(parts, 2) }
  if (kind === 'uploads' && parts.at(-3) === 'blobs') return { endpoint: 'upload', name: nameOf(parts, 3), session: session(last) }
  if (kind === 'manifests') return { endpoint: 'manifest', name: nameOf(parts, 2), reference: parseReference(last) }
  if (kind === 'blobs') return { endpoint: 'blob', name: nameOf(parts, 2), digest: parseDigest(last) }
  if (kind === 'referrers') return { endpoint: 'referrers', name: nameOf(parts, 2), digest: parseDigest(last) }
  throw noEndpoint()
}

function nameOf(parts: string[], tail: number): Name {
  return parseName(parts.slice(0, -tail).join('/'))
}

function session(text: string): SessionId {
  const id = parseSessionId(text)
  if (id) return id
  throw new OciError('BLOB_UPLOAD_UNKNOWN', { detail: { session: text.slice(0, 160) } })
}

// Decodes once: no name contains what is still encoded then.
function decode(path: string): string {
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path)
  } catch (cause) {
    throw new OciError('NAME_INVALID', { detail: { reason: 'the path is not valid percent-encoding' }, cause })
  }
}

function noEndpoint(): OciError {
  return new OciError('UNSUPPORTED', { status: 404, detail: { reason: 'the distribution-spec has no endpoint with this path' } })
}
