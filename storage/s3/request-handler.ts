import { Readable } from 'node:stream'
import type { SecureContext } from 'node:tls'
import type { NodeHttpHandler } from '@smithy/node-http-handler'
import type { HttpClient } from '../../src/http/client.ts'

type Request = Parameters<NodeHttpHandler['handle']>[0]
type Response = Awaited<ReturnType<NodeHttpHandler['handle']>>

/** Has a client of the SDK ask for bodies over the wire; what it signs and how often it tries stays its own. */
export class BodyRequestHandler {
  readonly metadata = { handlerProtocol: 'http/1.1' }
  readonly #wire: HttpClient
  readonly #secureContext: SecureContext

  constructor(wire: HttpClient, secureContext: SecureContext) {
    this.#wire = wire
    this.#secureContext = secureContext
  }

  async handle(request: Request): Promise<Response> {
    const { protocol, hostname, port, path, query, headers } = request
    const secure = protocol === 'https:'
    try {
      const { head, body } = await this.#wire.request({
        method: request.method,
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port ?? (secure ? 443 : 80),
        path: path + queryOf(query),
        fields: headers,
        ...(secure ? { secureContext: this.#secureContext } : {})
      })
      const stream = Buffer.isBuffer(body) ? Readable.from([body], { objectMode: false }) : body
      return { response: { statusCode: head.status, headers: head.fields, body: stream } }
    } catch (error) {
      // What the SDK tries again goes by this name.
      throw passing.has((error as NodeJS.ErrnoException).code ?? '') ? Object.assign(error as Error, { name: 'TimeoutError' }) : error
    }
  }

  // There is nothing about it that could be set.
  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): object {
    return {}
  }

  destroy(): void {
    this.#wire.destroy()
  }
}

const passing: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED'])

// As it is signed: sorted, and everything but RFC 3986's unreserved characters escaped.
function queryOf(query: Request['query']): string {
  const pairs = Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))
  const text = pairs.flatMap(([name, value]) => [value ?? []].flat().map((each: string) => `${escaped(name)}=${escaped(each)}`)).join('&')
  return text && `?${text}`
}

function escaped(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
}
