/** A single range as a client asks for it (RFC 9110 §14.1.2): positions are inclusive, in bytes. */
export type RangeRequest = { first: number; last?: number } | { suffix: number }

/** A range of a representation whose size is known: `length` bytes from `offset`. */
export interface Part {
  offset: number
  length: number
}

const single = /^bytes=\s*(\d*)-(\d*)\s*$/i

/**
 * The `Range` field of a GET. Undefined where the field is to be ignored and the whole body is the answer (RFC 9110 §14.2): another unit, several ranges, or garbage.
 * A last position before the first would be garbage too, but the conformance suite wants it refused; `select` does.
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

/** What of `size` bytes a request selects; undefined if it is unsatisfiable (416). */
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

/** The `Content-Range` of a chunk (distribution-spec, "Pushing a blob in chunks"): `<start>-<end>`, inclusive. Undefined if it has another form. */
export function parseChunkRange(field: string): Part | undefined {
  const match = chunk.exec(field.trim())
  if (!match) return undefined
  const [offset, end] = [Number(match[1]), Number(match[2])]
  return end < offset ? undefined : { offset, length: end - offset + 1 }
}
