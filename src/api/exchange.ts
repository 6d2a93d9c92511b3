import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Shortage } from '../../storage/storage.ts'
import type { Backend } from '../backend/backend.ts'
import { OciError } from '../oci/errors.ts'
import type { Sink } from '../oci/sink.ts'
import type { Outcome, Page, PageRequest } from '../oci/source.ts'
import type { TransferContext } from './send.ts'

/** What is remembered of a request for its log line and for the metrics. */
export interface RequestRecord {
  route: string
  name?: string
  reference?: string
  digest?: string
  session?: string
  user?: string
  address: string
  /** Seconds since a cached tag was last compared with upstream. */
  age?: number
  received: number
  /** Bytes of body sent, of those that Content-Length promised. */
  sent: number
  promised: number
  outcome?: Outcome
  /** Why a response ended short. */
  truncated?: string
  error?: unknown
}

/** A push, a change of a tag or a deletion, as the audit log keeps it. */
export interface AuditEvent {
  action: 'push' | 'tag' | 'delete'
  name: string
  tag?: string
  old?: string
  new?: string
}

/** One request on its way. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  query: URLSearchParams
  backend: Backend
  /** Upload sessions that began in a mode that takes pushes; they may go on to their end in every mode. */
  sessions: Pick<Sink, 'resumeUpload'>
  /** Aborted when the client is gone. */
  signal: AbortSignal
  record: RequestRecord
  transfers: TransferContext
  limits: { manifestBytes: number }
  /** What is in the way of so many bytes more; undefined if they fit. */
  shortage(bytes: number): Promise<Shortage | undefined>
  audit(event: AuditEvent): void
}

/** Where content can be pushed to; UNSUPPORTED (405) where it cannot. */
export function sinkOf({ backend }: Exchange): NonNullable<Backend['sink']> {
  if (backend.sink) return backend.sink
  throw new OciError('UNSUPPORTED', { detail: { reason: `mode ${backend.mode} takes no pushes and no deletions` } })
}

/** INSUFFICIENT_STORAGE (507) unless the body of the request has room; called before the client is asked for it. */
export async function requireCapacity({ request, shortage }: Exchange): Promise<void> {
  // Of a body of unknown length, or one that is still to come, at least a byte.
  const short = await shortage(Math.max(1, Number(request.headers['content-length'] ?? 1)))
  if (short) throw new OciError('INSUFFICIENT_STORAGE', { detail: short })
}

/** Answers without a body. */
export function respondEmpty({ response }: Exchange, status: number, headers: Record<string, string | number> = {}): void {
  // Neither has a body, and a length would be that of what is not sent (RFC 9110 §8.6).
  response.writeHead(status, { ...(status === 204 || status === 304 ? {} : { 'content-length': 0 }), ...headers })
  response.end()
}

/** Answers with a small body, or with its head only for HEAD. */
export function respondBytes(
  { request, response, record }: Exchange,
  status: number,
  headers: Record<string, string | number>,
  bytes: Uint8Array
): void {
  response.writeHead(status, { 'content-length': bytes.length, ...headers })
  if (request.method === 'HEAD') return void response.end()
  record.promised = bytes.length
  record.sent = bytes.length
  response.end(bytes)
}

/** `n` and `last` of a list (distribution-spec, "Listing Tags"); an `n` that is no number is ignored by no client, so it is an error. */
export function pageRequest({ query }: Exchange, badRequest: (reason: string) => OciError): PageRequest {
  const [n, last] = [query.get('n'), query.get('last')]
  if (n !== null && !/^\d{1,9}$/.test(n)) throw badRequest('n is not a number of entries')
  return { ...(n === null ? {} : { n: Number(n) }), ...(last ? { last } : {}) }
}

/** The `Link` of a page that is not the last (RFC 8288), relative to the host. */
export function nextLink({ query }: Exchange, path: string, page: Page<unknown>, { n }: PageRequest): Record<string, string> {
  if (page.next === undefined) return {}
  const next = new URLSearchParams(query)
  if (n !== undefined) next.set('n', String(n))
  next.set('last', page.next)
  return { link: `<${path}?${next}>; rel="next"` }
}
