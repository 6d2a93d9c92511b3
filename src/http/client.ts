import { Connection, type HttpClientResponse, type HttpOrigin, type HttpTimeouts } from './connection.ts'

/** A request without a body. */
export interface HttpClientRequest extends HttpOrigin {
  method: string
  /** Path and query as they are sent. */
  path: string
  fields: Readonly<Record<string, string>>
}

// Idle connections that are kept.
const maxIdlePerOrigin = 32

/**
 * An HTTP client for large bodies, which are received straight into the reader's buffer. Node's own clients allocate
 * and copy each chunk twice; everything that is not large uses those.
 */
export class HttpClient {
  readonly #timeouts: HttpTimeouts
  readonly #idle = new Map<string, Connection[]>()
  readonly #all = new Set<Connection>()
  #closed = false

  constructor(timeouts: HttpTimeouts) {
    this.#timeouts = timeouts
  }

  /**
   * Resolves with the head and a body that the caller reads to its end or destroys. Rejects with the `code` of a system
   * call, or `EPROTO`.
   */
  async request(request: HttpClientRequest): Promise<HttpClientResponse> {
    const text = textOf(request)
    const origin = `${request.secureContext ? 'https' : 'http'}://${request.host}:${request.port}`
    for (let kept = this.#idle.get(origin)?.pop(); kept; kept = this.#idle.get(origin)?.pop()) {
      try {
        return await kept.request(text)
      } catch (error) {
        // Retries only if the server closed the idle connection before it saw the request.
        if (kept.responseStarted || (error as NodeJS.ErrnoException).code === 'ETIMEDOUT') throw error
      }
    }
    return (await this.#connect(request, origin)).request(text)
  }

  async #connect(target: HttpOrigin, origin: string): Promise<Connection> {
    const connection = await Connection.open(target, this.#timeouts, one => this.#update(one, origin))
    if (this.#closed) connection.destroy()
    else if (connection.state !== 'closed') this.#all.add(connection)
    return connection
  }

  #update(connection: Connection, origin: string): void {
    const idle = (this.#idle.get(origin) ?? []).filter(each => each !== connection)
    if (connection.state === 'closed') this.#all.delete(connection)
    else if (idle.length < maxIdlePerOrigin) idle.push(connection)
    else connection.destroy()
    if (idle.length > 0) this.#idle.set(origin, idle)
    else this.#idle.delete(origin)
  }

  /** Closes all connections; pending requests and reads reject. */
  destroy(): void {
    this.#closed = true
    for (const connection of this.#all) connection.destroy()
  }
}

function textOf({ method, path, fields }: HttpClientRequest): string {
  const lines = [`${method} ${path} HTTP/1.1`, ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`)]
  for (const line of lines) if (!/^[\x20-\x7e\x80-\xff\t]*$/.test(line)) throw new Error(`not a line of a request: ${JSON.stringify(line)}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}
