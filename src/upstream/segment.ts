import type { RangeRequest } from '../oci/range.ts'
import { checkNoPage } from './blob-stat.ts'
import { fieldOf, lengthOf, parseContentRange } from './connection/headers.ts'
import { abandon } from './connection/read-body.ts'
import type { ResponseBody } from './connection/response-body.ts'
import type { UpstreamResponse } from './endpoint-client.ts'
import { UpstreamError } from './error.ts'
import { unusableResponse } from './failure.ts'

/** The part of a blob in one response. Positions are bytes of the blob, ends are exclusive. */
export interface Segment {
  readonly endpoint: URL
  readonly body: ResponseBody
  readonly text: string
  /** Where the body begins; bytes before `from` are skipped. */
  readonly begins: number
  readonly from: number
  /** Where the body ends, if the response declared it. */
  readonly ends?: number
  /** Where the requested range ends, if that is known. */
  readonly until?: number
  /** Of the whole blob. */
  readonly size?: number
}

/** The `Range` field for a request. */
export function rangeField(range: RangeRequest | undefined): Record<string, string> {
  if (!range) return {}
  return { range: 'suffix' in range ? `bytes=-${range.suffix}` : `bytes=${range.first}-${range.last ?? ''}` }
}

/** The segment of a response. One that does not fit the request is abandoned, and an UpstreamError thrown. */
export function openSegment(answer: UpstreamResponse, range: RangeRequest | undefined): Segment {
  try {
    return answer.status === 206 ? partial(answer, range) : whole(answer, range)
  } catch (error) {
    abandon(answer.body)
    throw error
  }
}

function partial(answer: UpstreamResponse, range: RangeRequest | undefined): Segment {
  const { part, size } = parseContentRange(fieldOf(answer.headers, 'content-range')) ?? {}
  if (!range || !part) throw invalid(answer, range ? '206 without a Content-Range that can be read' : '206 without a requested range')
  const length = lengthOf(answer.headers)
  if (length !== undefined && length !== part.last - part.first + 1) throw invalid(answer, 'Content-Length and Content-Range disagree')
  if (!fits(part, range, size)) throw invalid(answer, `not the requested range: ${part.first}-${part.last}`)
  return { ...segmentOf(answer), ...known({ size }), ...until(range, size), begins: part.first, from: part.first, ends: part.last + 1 }
}

// A server may send less than was requested, but not from another position.
function fits(part: { first: number; last: number }, range: RangeRequest, size: number | undefined): boolean {
  if ('first' in range) return part.first === range.first && part.last <= (range.last ?? part.last)
  return size !== undefined && part.first === Math.max(size - range.suffix, 0)
}

function whole(answer: UpstreamResponse, range: RangeRequest | undefined): Segment {
  const { status, headers, text, endpoint } = answer
  if (status !== 200) throw invalid(answer, `${status} is not a valid status here`)
  // The digest tells of a whole body, and of a part nothing does.
  if (range) checkNoPage(answer)
  const size = lengthOf(headers)
  if (range && 'suffix' in range && size === undefined) throw invalid(answer, 'the range was ignored, and no length tells where it begins')
  const from = !range ? 0 : 'first' in range ? range.first : Math.max((size ?? 0) - range.suffix, 0)
  // A resumed body may have broken exactly at the end of the blob: the caller takes this error for the end.
  if (range && size !== undefined && from >= size) {
    const message = `${endpoint.host}: ${text}: the range begins past the end`
    throw new UpstreamError('unsatisfiable', message, { endpoint: endpoint.host, status, size })
  }
  return { ...segmentOf(answer), ...known({ size, ends: size }), ...until(range, size), begins: 0, from }
}

function until(range: RangeRequest | undefined, size: number | undefined): { until?: number } {
  const last = range && 'first' in range ? range.last : undefined
  if (last === undefined) return known({ until: size })
  return { until: Math.min(last + 1, size ?? last + 1) }
}

function segmentOf({ endpoint, body, text }: UpstreamResponse): Pick<Segment, 'endpoint' | 'body' | 'text'> {
  return { endpoint, body, text }
}

function known<K extends string>(values: Record<K, number | undefined>): { [each in K]?: number } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [each in K]?: number }
}

function invalid(response: UpstreamResponse, reason: string): UpstreamError {
  return unusableResponse('invalid', reason, response)
}
