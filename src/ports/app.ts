import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { answerParserError } from './listen.ts'
import { nextRequestId } from './request-id.ts'

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

// The id of a forwarder, so that a request can be found in both logs; any other client could write the id of another
// request to the log. Restricted in its characters as well.
function forwardedRequestId(request: IncomingMessage, believes: (request: IncomingMessage) => boolean): string | undefined {
  const field = request.headers['x-request-id']
  return typeof field === 'string' && /^[\w.:/+=-]{1,128}$/.test(field) && believes(request) ? field : undefined
}
