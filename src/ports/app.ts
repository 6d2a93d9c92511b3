import type { RequestListener, Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { answerParserError } from './listen.ts'

/** A Fastify instance over a server of ours. `frameworkErrors` answers what Fastify itself refuses. */
export function createApp(
  createServer: (listener: RequestListener) => Server,
  frameworkErrors?: NonNullable<FastifyServerOptions['frameworkErrors']>
): FastifyInstance {
  return Fastify({
    ...(frameworkErrors ? { frameworkErrors } : {}),
    serverFactory: listener => createServer(listener),
    clientErrorHandler: (error, socket) => answerParserError(error as NodeJS.ErrnoException, socket as Socket),
    routerOptions: { maxParamLength: 16 * 1024 },
    bodyLimit: 64 * 1024,
    requestIdHeader: false,
    genReqId: request => givenRequestId(request.headers['x-request-id']) ?? nextRequestId(),
    exposeHeadRoutes: false
  })
}

let requests = 0
const started = process.pid.toString(36) + Date.now().toString(36)
function nextRequestId(): string {
  requests++
  return `${started}-${requests.toString(36)}`
}

// Of a proxy in front, for finding a request in both logs; it goes into a log line, so not anything will do.
function givenRequestId(field: string | string[] | undefined): string | undefined {
  return typeof field === 'string' && /^[\w.:/+=-]{1,128}$/.test(field) ? field : undefined
}

/** Listens on an address or on the path of a Unix socket; an error names the setting. */
export function listen(server: Server, at: { host: string; port: number } | string, setting: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (cause: Error) => reject(new Error(`${setting}: ${cause.message}`, { cause }))
    server.once('error', refused)
    server.listen(typeof at === 'string' ? { path: at } : { ...at, backlog: 1024 }, () => {
      server.off('error', refused)
      resolve()
    })
  })
}

/** Where a server listens, as `<host>:<port>`. */
export function addressText(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`
}
