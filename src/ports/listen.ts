import { createServer, type OutgoingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { OciError } from '../oci/errors.ts'

/** Limits of a port; the times are in ms. */
export interface PortLimits {
  /** Connections at once; more are closed. */
  maxConnections: number
  /** How long the head of a request may take. */
  headTimeoutMs: number
}

// Longer than the idle time of the balancers in front, so that it is never we who close a connection which they are about to use.
const keepAlive = 75_000
const longestHead = 16 * 1024

/** An HTTP server with the limits of a port. A body may take as long as it makes progress, so there is no limit on a request's total time. */
export function createPort(
  listener: RequestListener,
  tls: TlsOptions | undefined,
  { maxConnections: connections, headTimeoutMs: head }: PortLimits
): Server {
  const options = {
    keepAliveTimeout: keepAlive,
    headersTimeout: head,
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(5_000, head),
    maxHeaderSize: longestHead,
    noDelay: true,
    insecureHTTPParser: false,
    // Answered like every other fault, with a body that says so.
    requireHostHeader: false
  }
  const server = tls ? createTlsServer({ ...options, ...tls, handshakeTimeout: head }, listener) : createServer(options, listener)
  server.maxConnections = connections
  return server
}

type Fault = [status: string, reason: string, code?: 'SIZE_INVALID']

const parserFaults: Record<string, Fault> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', `the head of the request has more than ${longestHead} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the head of the request took too long'],
  HPE_INVALID_METHOD: ['405 Method Not Allowed', 'the method is not known']
}

const notHttp: Fault = ['400 Bad Request', 'the request is not HTTP/1.1']
// Its request is not answered yet, so that this is its answer.
const wrongBody: Fault = ['400 Bad Request', 'the body does not have its declared length', 'SIZE_INVALID']

/** Answers what is not HTTP, in the form of every other error, and ends the connection. */
export function answerParserError(error: NodeJS.ErrnoException, socket: Socket): void {
  // Behind the head of an answer these bytes would be taken for a part of its body.
  const pending = (socket as { _httpMessage?: OutgoingMessage | null })._httpMessage
  if (pending?.headersSent || !socket.writable || error.code === 'ECONNRESET') return void socket.destroy()
  const [status, reason, code = 'UNSUPPORTED'] = pending ? wrongBody : (parserFaults[error.code ?? ''] ?? notHttp)
  const body = JSON.stringify(new OciError(code, { detail: { reason } }))
  const head = `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
  socket.end(head + body, () => socket.destroy())
}

/** Stops accepting, lets running requests end for at most `limit` ms, and then closes what is left; resolves to whether all ended by themselves. */
export async function drain(server: Server, limit: number): Promise<boolean> {
  const closed = new Promise<boolean>(resolve => server.close(() => resolve(true)))
  // Connections fall idle one by one as their requests end.
  const idle = setInterval(() => server.closeIdleConnections(), 50)
  let forced: NodeJS.Timeout | undefined
  const late = new Promise<boolean>(resolve => {
    forced = setTimeout(() => resolve(false), limit)
  })
  const clean = await Promise.race([closed, late])
  clearInterval(idle)
  clearTimeout(forced)
  server.closeAllConnections()
  await closed
  return clean
}
