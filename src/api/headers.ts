import type { ServerResponse } from 'node:http'
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
