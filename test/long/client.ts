import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { Pool } from 'undici'

/** A whole answer. */
export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

/** What goes with a request. */
export interface Sent {
  headers?: Record<string, string>
  body?: Buffer | Readable
}

/** Requests over connections that are kept; what breaks off rejects, what is answered resolves. */
export class Client {
  readonly #pool: Pool
  readonly #headers: Record<string, string>

  /** `address` is `<host>:<port>`; `headers` go with each request. */
  constructor(address: string, connections: number, headers: Record<string, string> = {}) {
    this.#headers = headers
    this.#pool = new Pool(`http://${address}`, { connections, pipelining: 1 })
  }

  /** Sends one request and reads the whole answer. */
  async ask(method: string, path: string, { headers = {}, body }: Sent = {}): Promise<Reply> {
    const answer = await this.#pool.request({ method, path, headers: { ...this.#headers, ...headers }, body: body ?? null })
    return { status: answer.statusCode, headers: answer.headers, body: Buffer.from(await answer.body.arrayBuffer()) }
  }

  /** Breaks off what is running. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

/** An answer that the test did not provide for. */
export class UnexpectedReply extends Error {
  readonly status: number

  constructor(what: string, { status, body }: Reply) {
    super(`${what} was answered with ${status} ${body.subarray(0, 500)}`)
    this.name = 'UnexpectedReply'
    this.status = status
  }
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}
