import { Connection, type HttpOrigin, type HttpResponse, type HttpTimeouts } from './connection.ts'

/** A request without a body. */
export interface HttpRequest extends HttpOrigin {
  method: string
  /** Path and query, as they are sent. */
  path: string
  fields: Readonly<Record<string, string>>
}

// Kept for the next question, of each host.
const maxIdlePerOrigin = 32

/**
 * Connections over which large bodies come, each straight into the buffer of whoever reads it. Only for what the clients of Node do slowly, whose chunks are copied twice and
 * allocated twice; everything else is theirs.
 */
export class HttpClient {
  readonly #timeouts: HttpTimeouts
  readonly #idle = new Map<string, Connection[]>()
  readonly #all = new Set<Connection>()
  #closed = false

  constructor(times: HttpTimeouts) {
    this.#timeouts = times
  }

  /** Resolves with the head of the answer; whoever asks takes the body or destroys it. Rejects with an error that has the `code` of a system call. */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const text = textOf(request)
    const place = `${request.secureContext ? 'https' : 'http'}://${request.host}:${request.port}`
    for (let kept = this.#idle.get(place)?.pop(); kept; kept = this.#idle.get(place)?.pop()) {
      try {
        return await kept.request(text)
      } catch (error) {
        // It was closed as we asked.
        if (kept.responseStarted || (error as NodeJS.ErrnoException).code === 'ETIMEDOUT') throw error
      }
    }
    return (await this.#connect(request, place)).request(text)
  }

  async #connect(target: HttpOrigin, place: string): Promise<Connection> {
    const connection = await Connection.open(target, this.#timeouts, one => this.#changed(one, place))
    if (this.#closed) connection.destroy()
    else if (connection.state !== 'closed') this.#all.add(connection)
    return connection
  }

  #changed(connection: Connection, place: string): void {
    const idle = (this.#idle.get(place) ?? []).filter(each => each !== connection)
    if (connection.state === 'closed') this.#all.delete(connection)
    else if (idle.length < maxIdlePerOrigin) idle.push(connection)
    else connection.destroy()
    if (idle.length > 0) this.#idle.set(place, idle)
    else this.#idle.delete(place)
  }

  /** Cuts all connections. */
  destroy(): void {
    this.#closed = true
    for (const connection of this.#all) connection.destroy()
  }
}

function textOf({ method, path, fields }: HttpRequest): string {
  const lines = [`${method} ${path} HTTP/1.1`, ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`)]
  for (const line of lines) if (!/^[\x20-\x7e\x80-\xff\t]*$/.test(line)) throw new Error(`not a line of a request: ${JSON.stringify(line)}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}
