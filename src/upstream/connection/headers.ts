import type { IncomingHttpHeaders } from 'node:http'

// An hour: what a wrong clock or a typing mistake may cost.
const maxRetryAfterMs = 3_600_000

/** A field that stands once; the first if it was repeated. */
export function fieldOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** `Content-Length`; undefined if there is none that can be believed. */
export function lengthOf(headers: IncomingHttpHeaders): number | undefined {
  return wholeNumber(fieldOf(headers, 'content-length'))
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** What a `Content-Range` says (RFC 9110 §14.4): positions are inclusive; those of a 416 are missing, and so is a size that is not known. */
export interface ContentRange {
  part?: { first: number; last: number }
  size?: number
}

const contentRange = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15}|\*)$/i

/** Reads a `Content-Range`; undefined if it has another form or contradicts itself. */
export function parseContentRange(field: string | undefined): ContentRange | undefined {
  const match = contentRange.exec(field?.trim() ?? '')
  if (!match) return undefined
  const [, first, last, total] = match
  const size = wholeNumber(total)
  const known = size === undefined ? {} : { size }
  if (first === undefined || last === undefined) return size === undefined ? undefined : known
  const part = { first: Number(first), last: Number(last) }
  if (part.last < part.first || (size !== undefined && part.last >= size)) return undefined
  return { part, ...known }
}

/** `Retry-After` (RFC 9110 §10.2.3) as milliseconds from `now`, at most an hour; undefined if it says nothing. */
export function retryAfterMs(field: string | undefined, now: number): number | undefined {
  if (field === undefined) return undefined
  const text = field.trim()
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, maxRetryAfterMs)
  const at = /^[A-Za-z]{3}/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : Math.min(Math.max(at - now, 0), maxRetryAfterMs)
}

// `[^<>"]` and `[^;,"]` keep it linear: each character can be taken in one way only.
const links = /<([^<>"]{0,8192})>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^;,"\s]*))?)*)/g
const parameter = /;\s*([\w*-]+)\s*(?:=\s*(?:"([^"]*)"|([^;,"\s]*)))?/g

/** The target of `Link: <…>; rel="next"` (RFC 8288), as it stands there. */
export function nextLink(field: string | string[] | undefined): string | undefined {
  const text = (Array.isArray(field) ? field.join(', ') : (field ?? '')).slice(0, 16_384)
  for (const [, target, parameters = ''] of text.matchAll(links)) {
    const rel = [...parameters.matchAll(parameter)].find(([, name]) => name?.toLowerCase() === 'rel')
    const relations = (rel?.[2] ?? rel?.[3] ?? '').toLowerCase().split(/\s+/)
    if (relations.includes('next')) return target
  }
  return undefined
}
