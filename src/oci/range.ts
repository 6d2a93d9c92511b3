/** A single requested range (RFC 9110 §14.1.2). Positions are in bytes and inclusive. */
export type RangeRequest = { first: number; last?: number } | { suffix: number }

/** A range of a representation whose size is known: `length` bytes from `offset`. */
export interface Part {
  offset: number
  length: number
}

const single = /^bytes=\s*(\d*)-(\d*)\s*$/i

/**
 * Reads the `Range` field of a GET. Undefined if the field is to be ignored (RFC 9110 §14.2): another unit, several
 * ranges, or malformed. A last position before the first is malformed too, but the conformance suite expects 416;
 * `resolveRange` gives it.
 */
export function parseRange(field: string | undefined): RangeRequest | undefined {
  const match = field === undefined ? undefined : single.exec(field)
  if (!match) return undefined
  const [first, last] = [match[1] ?? '', match[2] ?? '']
  if (first === '') return last === '' ? undefined : { suffix: bounded(last) }
  if (last === '') return { first: bounded(first) }
  return { first: bounded(first), last: bounded(last) }
}

// A position past 2^53 is past the end of anything that can be stored.
function bounded(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}

/** The part of `size` bytes that a range selects; undefined if it is unsatisfiable (416). */
export function resolveRange(range: RangeRequest, size: number): Part | undefined {
  if ('suffix' in range) {
    const length = Math.min(range.suffix, size)
    return length === 0 ? undefined : { offset: size - length, length }
  }
  const last = Math.min(range.last ?? size - 1, size - 1)
  return range.first >= size || last < range.first ? undefined : { offset: range.first, length: last - range.first + 1 }
}

/** The `Content-Range` of a 206 (RFC 9110 §14.4). */
export function contentRange(part: Part, size: number): string {
  return `bytes ${part.offset}-${part.offset + part.length - 1}/${size}`
}

const chunk = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\*|\d+))?$/

/**
 * Reads the `Content-Range` of a chunk (distribution-spec, "Pushing a blob in chunks"): `<start>-<end>`, inclusive.
 * Undefined if malformed.
 */
export function parseChunkRange(field: string): Part | undefined {
  const match = chunk.exec(field.trim())
  if (!match) return undefined
  const [offset, end] = [Number(match[1]), Number(match[2])]
  return end < offset ? undefined : { offset, length: end - offset + 1 }
}
