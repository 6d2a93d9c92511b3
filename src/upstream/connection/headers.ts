import type { IncomingHttpHeaders } from 'node:http'

// Bounds the cost of a wrong clock or of a mistake.
const maxRetryAfterMs = 3_600_000

/** A field that is expected once; the first value if it is repeated. */
export function fieldOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** `Content-Length` in bytes; undefined if it is absent or malformed. */
export function lengthOf(headers: IncomingHttpHeaders): number | undefined {
  return wholeNumber(fieldOf(headers, 'content-length'))
}

/** Whether a response is a web page: no registry and no store sends one for content. */
export function isHtml(headers: IncomingHttpHeaders): boolean {
  return /^\s*text\/html\b/i.test(fieldOf(headers, 'content-type') ?? '')
}

/** Whether a response is JSON by its type. */
export function isJson(headers: IncomingHttpHeaders): boolean {
  return /^\s*application\/json\b/i.test(fieldOf(headers, 'content-type') ?? '')
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/**
 * A `Content-Range` (RFC 9110 §14.4). Positions are inclusive; a 416 has no `part`, and `size` is absent if it is
 * unknown.
 */
export interface ContentRange {
  part?: { first: number; last: number }
  size?: number
}

const contentRange = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15}|\*)$/i

/** Reads a `Content-Range`; undefined if it is malformed or contradicts itself. */
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

/** `Retry-After` (RFC 9110 §10.2.3) in ms from `now`, an hour at most; undefined if it is absent or malformed. */
export function retryAfterMs(field: string | undefined, now: number): number | undefined {
  if (field === undefined) return undefined
  const text = field.trim()
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, maxRetryAfterMs)
  const at = /^[A-Za-z]{3}/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : Math.min(Math.max(at - now, 0), maxRetryAfterMs)
}

// `[^<>"]` and `[^;,"]` keep matching linear: each character can match in one way only.
const links = /<([^<>"]{0,8192})>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^;,"\s]*))?)*)/g
const parameter = /;\s*([\w*-]+)\s*(?:=\s*(?:"([^"]*)"|([^;,"\s]*)))?/g

/** The target of `Link: <…>; rel="next"` (RFC 8288), unresolved. */
export function nextLink(field: string | string[] | undefined): string | undefined {
  const text = (Array.isArray(field) ? field.join(', ') : (field ?? '')).slice(0, 16_384)
  for (const [, target, parameters = ''] of text.matchAll(links)) {
    const rel = [...parameters.matchAll(parameter)].find(([, name]) => name?.toLowerCase() === 'rel')
    const relations = (rel?.[2] ?? rel?.[3] ?? '').toLowerCase().split(/\s+/)
    if (relations.includes('next')) return target
  }
  return undefined
}
