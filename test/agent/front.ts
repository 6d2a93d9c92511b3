import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Ending } from '../support/place.ts'

/** A request as it came to a replica. */
export interface Seen {
  method: string
  path: string
  range: string | undefined
}

/** What a replica does in place of what it should; the first that fits a request counts. */
export interface Fault {
  /** Which requests; all if left out. */
  when?: (seen: Seen) => boolean
  /** How often; always if left out. */
  times?: number
  /** An answer that the registry did not give. */
  answer?: { status: number; headers?: Record<string, string>; body?: string | Buffer }
  /** What comes in place of a head. */
  before?: 'reset' | 'fin' | 'silence' | 'endless head'
  /** Fields of the head that are replaced, or left out where they are undefined. */
  headers?: Record<string, string | undefined>
  /** So much of the body comes, and then this. */
  after?: { bytes: number; end: 'reset' | 'fin' | 'silence' }
  /** The byte of the body that is another one. */
  wrongByte?: number
}

/** A real registry behind something that can be made to misbehave. */
export interface Front {
  /** `<IPv4>:<port>` */
  readonly address: string
  readonly seen: Seen[]
  faults: Fault[]
  /** Ends all connections and refuses new ones. */
  close(): Promise<void>
  /** Listens again, at the same address. */
  open(): Promise<void>
}

/** Starts a front on a loopback address before the registry at `target`; it ends with the test. */
export async function startFront(t: Ending, host: string, target: string): Promise<Front> {
  const front = { address: '', seen: [] as Seen[], faults: [] as Fault[] }
  let server: Server | undefined
  let port = 0
  const open = async () => {
    server = createServer((incoming, response) => void serve(front, target, incoming, response).catch(() => response.destroy()))
    server.listen(port, host)
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    front.address = `${host}:${port}`
  }
  const close = async () => {
    if (server?.listening !== true) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await open()
  t.teardown(close)
  return Object.assign(front, { open, close })
}

type State = Pick<Front, 'seen' | 'faults'>

async function serve(front: State, target: string, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const seen: Seen = { method: incoming.method ?? '', path: incoming.url ?? '', range: incoming.headers.range }
  front.seen.push(seen)
  const fault = faultOf(front, seen)
  if (fault.answer !== undefined) {
    incoming.resume()
    response.writeHead(fault.answer.status, fault.answer.headers ?? {})
    return void response.end(fault.answer.body ?? '')
  }
  if (fault.before !== undefined) return await misbehave(fault.before, incoming.socket)
  const answer = await forwarded(target, incoming)
  response.writeHead(answer.statusCode ?? 502, withFields(answer.headers, fault.headers ?? {}))
  await sendBody(answer, response, fault)
}

function faultOf({ faults }: State, seen: Seen): Fault {
  const found = faults.find(({ when = () => true, times = Number.POSITIVE_INFINITY }) => times > 0 && when(seen))
  if (found?.times !== undefined) found.times--
  return found ?? {}
}

async function forwarded(target: string, incoming: IncomingMessage): Promise<IncomingMessage> {
  const [host, port] = target.split(':')
  const { method, url, headers } = incoming
  const outgoing = request({ host, port, method, path: url, headers, agent: false })
  incoming.pipe(outgoing)
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  return answer
}

function withFields(headers: IncomingMessage['headers'], changed: Record<string, string | undefined>) {
  return Object.fromEntries(Object.entries({ ...headers, ...changed }).filter(([, value]) => value !== undefined))
}

async function sendBody(answer: IncomingMessage, response: ServerResponse, { after, wrongByte }: Fault): Promise<void> {
  response.flushHeaders()
  response.once('close', () => answer.destroy())
  let at = 0
  for await (const piece of answer as AsyncIterable<Buffer>) {
    const bytes = wrongByte === undefined ? piece : corrupted(piece, wrongByte - at)
    const left = after === undefined ? bytes.length : after.bytes - at
    at += bytes.length
    await written(response, bytes.subarray(0, left))
    if (after !== undefined && bytes.length >= left) {
      if (response.socket) await misbehave(after.end, response.socket)
      return
    }
  }
  response.end()
}

async function written(response: ServerResponse, bytes: Buffer): Promise<void> {
  if (response.write(bytes) || response.destroyed) return
  const left = new AbortController()
  const { signal } = left
  const waiting = [once(response, 'drain', { signal }), once(response, 'close', { signal })]
  for (const each of waiting) each.catch(() => {})
  await Promise.race(waiting).finally(() => left.abort())
}

function corrupted(piece: Buffer, at: number): Buffer {
  if (at < 0 || at >= piece.length) return piece
  const copy = Buffer.from(piece)
  copy[at] = (copy[at] ?? 0) ^ 0xff
  return copy
}

/** What was written before reaches the other side first, other than by a reset. */
async function misbehave(how: 'reset' | 'fin' | 'silence' | 'endless head', socket: Socket): Promise<void> {
  if (how === 'silence') return void (await once(socket, 'close'))
  if (how === 'reset') return void socket.resetAndDestroy()
  if (how === 'fin') return void socket.end(() => socket.destroy())
  socket.write('HTTP/1.1 200 OK\r\n')
  for (let field = 0; !socket.destroyed; field++) {
    if (!socket.write(`X-Field-${field}: ${'x'.repeat(1000)}\r\n`)) await Promise.race([once(socket, 'drain'), once(socket, 'close')])
  }
}
