import type { Judged } from './place.ts'
import type { WireAnswer } from './wire.ts'

/** A read of a blob that is known. */
export interface RangeRead {
  method: string
  bytes: Buffer
  headers: Readonly<Record<string, string | undefined>>
}

/** Throws unless the answer is the blob, the part of it that the answer itself names, 304, or 416. */
export function checkRange({ status, headers, body }: WireAnswer, { method, bytes, headers: asked }: RangeRead): void {
  const length = Number(headers.get('content-length'))
  if (status === 304 && asked['if-none-match'] !== undefined) return
  if (status === 416) {
    if (headers.get('content-range') !== `bytes */${bytes.length}`)
      throw new Error(`416 with Content-Range ${headers.get('content-range')}`)
    return
  }
  if (status === 200) {
    if (length !== bytes.length) throw new Error(`200 with Content-Length ${length}`)
    if (method === 'GET' && !body.equals(bytes)) throw new Error('200 with other bytes')
    return
  }
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? []
  if (status !== 206 || first === undefined) throw new Error(`answered ${status} with Content-Range ${headers.get('content-range')}`)
  const part = bytes.subarray(Number(first), Number(last) + 1)
  if (Number(size) !== bytes.length || length !== part.length || !body.equals(part))
    throw new Error(`206 with other bytes than ${first}-${last}`)
  checkAsked(asked['range'] ?? '', { first: Number(first), last: Number(last), size: bytes.length })
}

// Computed once more and on its own: what the two simple forms of a range mean.
function checkAsked(range: string, got: { first: number; last: number; size: number }): void {
  const [, from = '', to = ''] = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(range) ?? []
  const first = from === '' ? Math.max(0, got.size - Number(to)) : Number(from)
  const last = from === '' || to === '' ? got.size - 1 : Math.min(got.size - 1, Number(to))
  if (first !== got.first || last !== got.last) throw new Error(`${range} was answered with ${got.first}-${got.last}`)
}

/** Throws unless the page of a list is in byte order, begins after `last`, and has at most `n` entries. */
export async function checkPage(judged: Judged, { path, n, last }: { path: string; n: number; last: string }): Promise<void> {
  const target = `${path}?n=${n}${last === '' ? '' : `&last=${last}`}`
  const { status, body, headers } = await judged.send({ method: 'GET', target, headers: [], body: new Uint8Array(), framing: 'length' })
  if (status !== 200) throw new Error(`${target} answered ${status}`)
  const { repositories, tags } = JSON.parse(body.toString()) as { repositories?: string[]; tags?: string[] }
  const items = repositories ?? tags
  if (!items || items.length > n) throw new Error(`${target} has ${items?.length} entries`)
  const sorted = [...items].sort((a, b) => (a < b ? -1 : 1))
  if (new Set(items).size !== items.length || items.some((each, at) => each !== sorted[at]))
    throw new Error(`${target} is out of order: ${items}`)
  if (items.some(each => each <= decode(last))) throw new Error(`${target} goes back before ${last}: ${items}`)
  if (headers.has('link') && items.length < n) throw new Error(`${target} has a link to more after ${items.length} entries`)
}

function decode(text: string): string {
  return new URLSearchParams(`text=${text}`).get('text') ?? ''
}
