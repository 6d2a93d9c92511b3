import type { ServerResponse } from 'node:http'
import type { Digest } from '../oci/digest.ts'
import type { Served } from '../oci/source.ts'

/** Upload `Range` and end-position semantics of the distribution-spec: `0-<last byte>`; an empty session is `0-0` as well, which clients know how to read. */
export function contentRangeOfUpload(offset: number): string {
  return `0-${Math.max(0, offset - 1)}`
}

/** An entity tag is the digest, in quotes (RFC 9110 §8.8.3): the same digest is the same bytes. */
export function etagOf(digest: Digest): string {
  return `"${digest}"`
}

/** Whether `If-None-Match` names what would be sent (RFC 9110 §13.1.2; weak comparison). Digests hold no comma and no quote. */
export function noneMatch(field: string | undefined, digest: Digest): boolean {
  if (field === undefined) return false
  const tags = field.split(',').map(each => each.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etagOf(digest)) || tags.includes(digest)
}

/** Whether `If-Range` lets a range be answered (RFC 9110 §13.1.5): only the strong tag of the same bytes does. */
export function rangeAllowed(ifRange: string | undefined, digest: Digest): boolean {
  return ifRange === undefined || ifRange.trim() === etagOf(digest)
}

/** What an answer says about how it came about: `Age` and `Warning` (distribution-spec, "Warnings"). */
export function setServed(response: ServerResponse, { age, warning }: Served<unknown>): void {
  if (age !== undefined) response.setHeader('age', Math.floor(age))
  if (warning !== undefined) response.setHeader('warning', `299 - "${warning.replace(/[^ !#-[\]-~]/g, '')}"`)
}
