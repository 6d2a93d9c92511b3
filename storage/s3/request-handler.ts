import { Readable } from 'node:stream'
import type { SecureContext } from 'node:tls'
import type { NodeHttpHandler } from '@smithy/node-http-handler'

/**
 * A body that is read straight into the reader's buffer: at least a byte per call, 0 at the end, by one reader at a
 * time.
 */
export interface DirectBody extends Readable {
  readInto(into: Buffer): Promise<number>
}

/** A signed request without a body. `secureContext` is present where the connection is encrypted. */
export interface BodyRequest {
  method: string
  host: string
  port: number
  /** Path and query, as they are sent. */
  path: string
  fields: Readonly<Record<string, string>>
  secureContext?: SecureContext | undefined
}

/** A response whose body is either read from the connection, or here already where it is short. */
export interface BodyResponse {
  head: { status: number; fields: Record<string, string> }
  body: DirectBody | Buffer
}

/** The HTTP client that objects are read with. An error of it has the `code` of a system call. */
export interface BodyClient {
  request(request: BodyRequest): Promise<BodyResponse>
  /** Closes all connections. */
  destroy(): void
}

/**
 * Timeouts of a `BodyClient` in ms: for a connection, for the head of a response, for the next byte while one is
 * awaited, and for an idle connection.
 */
export interface BodyClientTimeouts {
  connectMs: number
  responseMs: number
  bodyIdleMs: number
  keepAliveMs: number
}

/** Makes the client that objects are read with. */
export type CreateBodyClient = (timeouts: BodyClientTimeouts) => BodyClient

/** Whether the body of a response came from a `BodyClient` and is on its connection. */
export function isDirectBody(body: unknown): body is DirectBody {
  return typeof (body as Partial<DirectBody> | undefined)?.readInto === 'function'
}

type Request = Parameters<NodeHttpHandler['handle']>[0]
type Response = Awaited<ReturnType<NodeHttpHandler['handle']>>

/** Lets a client of the SDK make its requests with a `BodyClient`. Signing and retries stay with the SDK. */
export class BodyRequestHandler {
  readonly metadata = { handlerProtocol: 'http/1.1' }
  readonly #client: BodyClient
  readonly #secureContext: SecureContext

  constructor(client: BodyClient, secureContext: SecureContext) {
    this.#client = client
    this.#secureContext = secureContext
  }

  async handle(request: Request): Promise<Response> {
    const { protocol, hostname, port, path, query, headers } = request
    const secure = protocol === 'https:'
    try {
      const { head, body } = await this.#client.request({
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
      // The SDK retries errors of this name.
      throw retried.has((error as NodeJS.ErrnoException).code ?? '') ? Object.assign(error as Error, { name: 'TimeoutError' }) : error
    }
  }

  // Required by the SDK; there are no settings.
  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): object {
    return {}
  }

  destroy(): void {
    this.#client.destroy()
  }
}

const retried: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED'])

// As in the signature: sorted, with everything but the unreserved characters of RFC 3986 §2.3 escaped.
function queryOf(query: Request['query']): string {
  const pairs = Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))
  const text = pairs.flatMap(([name, value]) => [value ?? []].flat().map((each: string) => `${escaped(name)}=${escaped(each)}`)).join('&')
  return text && `?${text}`
}

function escaped(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
}
