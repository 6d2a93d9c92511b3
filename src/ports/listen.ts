import { createServer, type OutgoingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { OciError } from '../oci/errors.ts'
import { inTurn } from './pipelining.ts'

/** Limits of a port. */
export interface PortLimits {
  /** Further connections are closed. */
  maxConnections: number
  /** Timeout of the head of a request, and of a TLS handshake. */
  headTimeoutMs: number
  /** Gets the remote address of a connection that is closed since it pipelined too many requests. */
  onOverflow?: ((address: string) => void) | undefined
}

// Longer than the idle timeout of load balancers, so that this side never closes a connection that one is about to use.
const keepAliveTimeoutMs = 75_000
const maxHeadBytes = 16 * 1024

/**
 * Creates an HTTP or HTTPS server that handles the requests of one connection one after another. A request has no total
 * timeout: a body may take as long as it progresses.
 */
export function createPort(
  listener: RequestListener,
  tls: TlsOptions | undefined,
  { maxConnections: connections, headTimeoutMs: head, onOverflow }: PortLimits
): Server {
  const options = {
    keepAliveTimeout: keepAliveTimeoutMs,
    headersTimeout: head,
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(5_000, head),
    maxHeaderSize: maxHeadBytes,
    noDelay: true,
    insecureHTTPParser: false,
    // The gateway responds with a body that gives the reason.
    requireHostHeader: false
  }
  const handle = inTurn(listener, onOverflow)
  const server = tls ? createTlsServer({ ...options, ...tls, handshakeTimeout: head }, handle) : createServer(options, handle)
  server.maxConnections = connections
  return server
}

type ParserFault = [status: string, reason: string, code?: 'SIZE_INVALID']

const parserFaults: Record<string, ParserFault> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', `the head of the request has more than ${maxHeadBytes} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the head of the request took too long'],
  HPE_INVALID_METHOD: ['405 Method Not Allowed', 'the method is not known']
}

const notHttp: ParserFault = ['400 Bad Request', 'the request is not HTTP/1.1']
// The response to the running request.
const wrongBody: ParserFault = ['400 Bad Request', 'the body does not have its declared length', 'SIZE_INVALID']

/** Responds to bytes that are not HTTP with an OCI error, and closes the connection. */
export function answerParserError(error: NodeJS.ErrnoException, socket: Socket): void {
  // After the head of a response the bytes would be read as a part of its body.
  const pending = (socket as { _httpMessage?: OutgoingMessage | null })._httpMessage
  if (pending?.headersSent || !socket.writable || error.code === 'ECONNRESET') return void socket.destroy()
  const [status, reason, code = 'UNSUPPORTED'] = pending ? wrongBody : (parserFaults[error.code ?? ''] ?? notHttp)
  const body = JSON.stringify(new OciError(code, { detail: { reason } }))
  const head = `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
  socket.end(head + body, () => socket.destroy())
}

/** Drains a server: after `timeoutMs` closes the connections that are left. Resolves to whether all ended in time. */
export async function drain(server: Server, timeoutMs: number): Promise<boolean> {
  const closed = new Promise<boolean>(resolve => server.close(() => resolve(true)))
  // Connections become idle one by one, as their requests end.
  const idle = setInterval(() => server.closeIdleConnections(), 50)
  let forced: NodeJS.Timeout | undefined
  const timedOut = new Promise<boolean>(resolve => {
    forced = setTimeout(() => resolve(false), timeoutMs)
  })
  const clean = await Promise.race([closed, timedOut])
  clearInterval(idle)
  clearTimeout(forced)
  server.closeAllConnections()
  await closed
  return clean
}
