import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Digest } from '../oci/digest.ts'
import type { Served } from '../oci/source.ts'

/** `Range` of an upload session: `0-<last byte>`. An empty session is `0-0` too, as clients expect. */
export function contentRangeOfUpload(offset: number): string {
  return `0-${Math.max(0, offset - 1)}`
}

/** The entity tag: the digest in quotes (RFC 9110 §8.8.3), since the same digest is the same bytes. */
export function etagOf(digest: Digest): string {
  return `"${digest}"`
}

/** Whether `If-None-Match` matches (RFC 9110 §13.1.2; weak comparison). Digests contain no comma and no quote. */
export function noneMatch(field: string | undefined, digest: Digest): boolean {
  if (field === undefined) return false
  const tags = field.split(',').map(each => each.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etagOf(digest)) || tags.includes(digest)
}

/** Whether `If-Range` allows a partial response (RFC 9110 §13.1.5): only the strong tag of the same bytes does. */
export function rangeAllowed(ifRange: string | undefined, digest: Digest): boolean {
  return ifRange === undefined || ifRange.trim() === etagOf(digest)
}

/** Sets `Age` and `Warning` (distribution-spec, "Warnings"). */
export function setServed(response: ServerResponse, { age, warning }: Served<unknown>): void {
  if (age !== undefined) response.setHeader('age', Math.floor(age))
  if (warning !== undefined) response.setHeader('warning', `299 - "${warning.replace(/[^ !#-[\]-~]/g, '')}"`)
}

/**
 * What is wrong with `Host`; undefined if nothing is (RFC 9112 §3.2). Of two fields Node keeps the first, and a
 * forwarder may have kept the other.
 */
export function hostFault({ rawHeaders, headers: { host }, httpVersion }: IncomingMessage): string | undefined {
  if (host === undefined) return httpVersion === '1.1' ? 'a request of HTTP/1.1 has to name its host (RFC 9112 §3.2)' : undefined
  let fields = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]
    if (name?.length === 4 && name.toLowerCase() === 'host') fields++
  }
  return fields > 1 ? 'a request has one Host field (RFC 9112 §3.2)' : undefined
}

/** Whether a read wants no content but what is stored (RFC 9111 §5.2.1.7). */
export function wantsStored({ method, headers }: Pick<IncomingMessage, 'method' | 'headers'>): boolean {
  const control = headers['cache-control']
  return control !== undefined && (method === 'GET' || method === 'HEAD') && /(^|,)\s*only-if-cached\s*(,|$)/i.test(control)
}
