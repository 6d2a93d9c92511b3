import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { answerParserError } from './listen.ts'

/** How an app differs from one of Fastify. */
export interface AppOptions {
  /** Responds to requests that Fastify itself refuses. */
  frameworkErrors?: NonNullable<FastifyServerOptions['frameworkErrors']>
  /** Whether the `X-Request-Id` of a request is its id; without it no one is. */
  believesRequestId?: (request: IncomingMessage) => boolean
}

/** Creates a Fastify instance over a server. */
export function createApp(
  createServer: (listener: RequestListener) => Server,
  { frameworkErrors, believesRequestId = () => false }: AppOptions = {}
): FastifyInstance {
  return Fastify({
    ...(frameworkErrors ? { frameworkErrors } : {}),
    serverFactory: listener => createServer(listener),
    clientErrorHandler: (error, socket) => answerParserError(error as NodeJS.ErrnoException, socket as Socket),
    routerOptions: { maxParamLength: 16 * 1024 },
    bodyLimit: 64 * 1024,
    requestIdHeader: false,
    genReqId: request => forwardedRequestId(request, believesRequestId) ?? nextRequestId(),
    exposeHeadRoutes: false
  })
}

let requests = 0
const started = process.pid.toString(36) + Date.now().toString(36)
function nextRequestId(): string {
  requests++
  return `${started}-${requests.toString(36)}`
}

// The id of a forwarder, so that a request can be found in both logs; any other client could write the id of another
// request to the log. Restricted in its characters as well.
function forwardedRequestId(request: IncomingMessage, believes: (request: IncomingMessage) => boolean): string | undefined {
  const field = request.headers['x-request-id']
  return typeof field === 'string' && /^[\w.:/+=-]{1,128}$/.test(field) && believes(request) ? field : undefined
}

/** Listens on an address or on the path of a Unix socket; rejects with an error that names the setting. */
export function listen(server: Server, at: { host: string; port: number } | string, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => reject(new Error(`${setting}: ${cause.message}`, { cause }))
    server.once('error', onError)
    server.listen(typeof at === 'string' ? { path: at } : { ...at, backlog: 1024 }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

/** The address of a listening server, as `<host>:<port>`. */
export function addressText(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
}
