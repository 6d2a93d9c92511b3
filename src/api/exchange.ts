import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Shortage } from '../../storage/storage.ts'
import type { IssuedToken } from '../access/tokens/issuer.ts'
import type { Backend } from '../backend/backend.ts'
import { OciError } from '../oci/errors.ts'
import type { Sink } from '../oci/sink.ts'
import type { Body, Outcome, Page, PageRequest } from '../oci/source.ts'
import type { HeldBytes } from './held-bytes.ts'
import { sendBody, type TransferContext } from './send.ts'
import type { WantedToken } from './tokens/token.ts'
import { endsConnection, endWhileSending, isSending } from './unread-body.ts'

/** The fields of a request for its log line and for the metrics. */
export interface RequestRecord {
  route: string
  name?: string
  reference?: string
  digest?: string
  session?: string
  user?: string
  address: string
  /** Seconds since a cached tag was last validated upstream. */
  age?: number
  /** Bytes of the request's body. */
  received: number
  /** Bytes of the body sent. */
  sent: number
  /** Content-Length of the response; 0 if unknown. */
  promised: number
  outcome?: Outcome
  /** The cause of a truncated response. */
  truncated?: string
  error?: unknown
}

/** A push, a change of a tag or a deletion, for the audit stream. */
export interface AuditEvent {
  action: 'push' | 'tag' | 'delete'
  name: string
  tag?: string
  old?: string
  new?: string
}

/** The authenticated sender of a request. A `host` is the upstream that `ns=` selects; without it, this registry. */
export interface Caller {
  /** Undefined if anonymous. */
  readonly user?: string | undefined
  /** Throws UNAUTHORIZED or DENIED without the permission for the repository; without a name, for any there. */
  require(permission: RequiredPermission, name?: string, host?: string): void
  mayPull(name: string, host?: string): boolean
  /** Whether it may pull from all repositories there. */
  mayPullAll(host?: string): boolean
  /** Whether the catalog may name the repository to it, and whether it may name all of them. */
  mayList(name: string, host?: string): boolean
  mayListAll(host?: string): boolean
}

/** The permission that a request requires; `base` is that of `GET /v2/`, `open` requires none. */
export type RequiredPermission = 'open' | 'base' | 'pull' | 'push' | 'delete'

/** A request being handled, and what its handler needs. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  query: URLSearchParams
  caller: Caller
  backend: Backend
  /** Issues a token; undefined where this registry issues none. Rejects with UNAUTHORIZED or TOOMANYREQUESTS. */
  issueToken(wanted: WantedToken): Promise<IssuedToken | undefined>
  /** Sessions that were started in a mode with a sink; they may be completed in every mode. */
  sessions: Pick<Sink, 'resumeUpload'>
  /** Aborted when the client disconnects. */
  signal: AbortSignal
  record: RequestRecord
  transfers: TransferContext
  /** What bodies keep in memory: those being received, and those being sent. */
  held: { bodies: HeldBytes; answers: HeldBytes }
  limits: { manifestBytes: number }
  /** The limit that `bytes` more would exceed; undefined if they fit. */
  shortage(bytes: number): Promise<Shortage | undefined>
  /** Resolves when the events are written; call it before the response. UNAVAILABLE if they cannot be. */
  audit(...events: AuditEvent[]): Promise<void>
}

/** The sink of the backend; UNSUPPORTED (405) in a mode without one. */
export function sinkOf({ backend }: Exchange): NonNullable<Backend['sink']> {
  if (backend.sink) return backend.sink
  throw new OciError('UNSUPPORTED', { detail: { reason: `mode ${backend.mode} takes no pushes and no deletions` } })
}

/** Throws INSUFFICIENT_STORAGE (507) unless there is capacity for the request's body. Call before `100 Continue`. */
export async function requireCapacity({ request, shortage }: Exchange): Promise<void> {
  // At least one byte, for a body of unknown length or one in a later request.
  const short = await shortage(Math.max(1, Number(request.headers['content-length'] ?? 1)))
  if (short) throw new OciError('INSUFFICIENT_STORAGE', { detail: short })
}

/** Writes the head of a response. */
export function writeHead({ request, response }: Exchange, status: number, headers: Record<string, string | number>): void {
  if (endsConnection(request)) response.setHeader('connection', 'close')
  response.writeHead(status, headers)
}

/** Responds without a body. */
export function respondEmpty(exchange: Exchange, status: number, headers: Record<string, string | number> = {}): void {
  // These have no body, and no Content-Length (RFC 9110 §8.6).
  writeHead(exchange, status, { ...(status === 204 || status === 304 ? {} : { 'content-length': 0 }), ...headers })
  end(exchange)
}

// Of a response that is handed to the socket at once. Larger ones go through buffers, at the rate of their client.
const maxDirectBytes = 64 * 1024

// With a head of usual size within the 16 KiB that Node writes without an allocation.
const maxJoinedBytes = 14 * 1024

/** Responds with a body that is in memory; to HEAD with the head only. Resolves at once unless the body is large. */
export function respondBytes(
  exchange: Exchange,
  status: number,
  headers: Record<string, string | number>,
  bytes: Uint8Array
): Promise<void> | void {
  const { request, record } = exchange
  const all = { 'content-length': bytes.length, ...headers }
  if (request.method === 'HEAD') {
    writeHead(exchange, status, all)
    return end(exchange)
  }
  record.promised = bytes.length
  if (bytes.length > maxDirectBytes) return sendHeld(exchange, status, all, bytes)
  record.sent = bytes.length
  writeHead(exchange, status, all)
  end(exchange, bytes)
}

async function sendHeld(exchange: Exchange, status: number, headers: Record<string, string | number>, bytes: Uint8Array): Promise<void> {
  const { response, record, transfers, held } = exchange
  // Manifests come from a cache: responses with the same one keep it once.
  const hold = held.answers.hold(bytes)
  try {
    hold.grow(bytes.length)
    hold.giveWay = () => response.destroy()
    writeHead(exchange, status, headers)
    const body: Body = {
      identity: bytes,
      readInto: async (into, position) => {
        const part = bytes.subarray(position, position + into.length)
        into.set(part)
        return part.length
      },
      close: async () => {}
    }
    // `limits.egress` is about blobs.
    record.sent = await sendBody({ ...transfers, egress: undefined }, response, body, { offset: 0, length: bytes.length })
  } finally {
    hold.end()
  }
}

/** Ends a response whose head is written. */
export function end({ request, response }: Exchange, bytes?: Uint8Array): void {
  if (isSending(request)) void endWhileSending(request, response, bytes)
  // Node joins a string with the head: one buffer on the stack and one write of the socket, where a Buffer takes two.
  else if (bytes !== undefined && bytes.length <= maxJoinedBytes) response.end(latin1Of(bytes), 'latin1')
  else response.end(bytes)
}

function latin1Of(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return buffer.toString('latin1')
}

/** Parses `n` and `last` of a list (distribution-spec, "Listing Tags"); an `n` that is no number is a bad request. */
export function pageRequest({ query }: Exchange, badRequest: (reason: string) => OciError): PageRequest {
  const [n, last] = [query.get('n'), query.get('last')]
  if (n !== null && !/^\d{1,9}$/.test(n)) throw badRequest('n is not a number of entries')
  return { ...(n === null ? {} : { n: Number(n) }), ...(last ? { last } : {}) }
}

/** The `Link` header to the next page (RFC 8288), relative to the host; empty on the last page. */
export function nextLink({ query }: Exchange, path: string, page: Page<unknown>, { n }: PageRequest): Record<string, string> {
  if (page.next === undefined) return {}
  const next = new URLSearchParams(query)
  if (n !== undefined) next.set('n', String(n))
  next.set('last', page.next)
  return { link: `<${path}?${next}>; rel="next"` }
}
