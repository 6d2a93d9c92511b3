import { createServer, type OutgoingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { type ErrorCode, OciError } from '../oci/errors.ts'
import { type ClosedFor, type ConnectionOptions, OpenConnections } from './open-connections.ts'
import { inTurn } from './pipelining.ts'
import { noSniff, PlainResponse } from './plain-response.ts'

/** Limits of a port, and what it reports of its connections. */
export interface PortLimits extends Omit<ConnectionOptions, 'max' | 'onClosed'> {
  /** With one more, an idle connection is closed, or the new one is refused. */
  maxConnections: number
  /** Timeout of the head of a request, and of a TLS handshake. */
  headTimeoutMs: number
  /** Gets the remote address of a connection that is closed, and the reason. */
  onClosed?: (address: string, reason: ClosedFor | 'pipelined') => void
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
  { maxConnections: max, headTimeoutMs: head, ...policy }: PortLimits
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
    requireHostHeader: false,
    ServerResponse: PlainResponse
  }
  const connections = new OpenConnections({ max, ...policy })
  const inOrder = inTurn(listener, address => policy.onClosed?.(address, 'pipelined'))
  const handle: RequestListener = (request, response) => {
    connections.begin(request)
    inOrder(request, response)
  }
  const server = tls ? createTlsServer({ ...options, ...tls, handshakeTimeout: head }, handle) : createServer(options, handle)
  connections.attach(server)
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // The TLS socket has ended, but not the connection below it.
    if (error.code === 'ERR_SSL_HTTP_REQUEST') connections.acceptedSocket(socket)?.write(faultAnswer(plainHttp))
  })
  return server
}

type ParserFault = [status: string, reason: string, code?: ErrorCode]

const parserFaults: Record<string, ParserFault> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', `the head of the request has more than ${maxHeadBytes} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the head of the request took too long'],
  HPE_INVALID_METHOD: ['405 Method Not Allowed', 'the method is not known']
}

const plainHttp: ParserFault = ['400 Bad Request', 'this port speaks TLS: use https']
const notHttp: ParserFault = ['400 Bad Request', 'the request is not HTTP/1.1']
// The response to the running request.
const wrongBody: ParserFault = ['400 Bad Request', 'the body does not have its declared length', 'SIZE_INVALID']

/** Responds to bytes that are not HTTP with an OCI error, and closes the connection. */
export function answerParserError(error: NodeJS.ErrnoException, socket: Socket): void {
  const pending = (socket as { _httpMessage?: OutgoingMessage | null })._httpMessage
  // The rest of a head may wait in a socket that is not read while an earlier request is under way.
  if (pending && error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return
  // After the head of a response the bytes would be read as a part of its body.
  if (pending?.headersSent || !socket.writable || error.code === 'ECONNRESET') return void socket.destroy()
  socket.end(faultAnswer(pending ? wrongBody : (parserFaults[error.code ?? ''] ?? notHttp)), () => socket.destroy())
}

function faultAnswer([status, reason, code = 'UNSUPPORTED']: ParserFault): string {
  const body = JSON.stringify(new OciError(code, { detail: { reason } }))
  const head = `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\n${noSniff.name}: ${noSniff.value}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
  return head + body
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
