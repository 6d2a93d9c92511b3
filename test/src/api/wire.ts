import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Test } from 'tap'

/** An answer as it came over the wire. */
export interface WireAnswer {
  status: number
  headers: Record<string, string>
  body: Buffer
}

/** A connection whose every byte a test decides about. */
export class Wire {
  readonly socket: Socket
  #chunks: Buffer[] = []
  #length = 0
  #ended = false
  readonly #wakes: (() => void)[] = []

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', chunk => {
      this.#chunks.push(chunk)
      this.#length += chunk.length
      this.#wake()
    })
    // A reset is an end as well; tests that care look at what arrived before.
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#ended = true
      this.#wake()
    })
  }

  /** Connects to `<host>:<port>`. */
  static async dial(t: Test, address: string): Promise<Wire> {
    const [host, port] = address.split(':')
    const wire = new Wire(connect({ host: host ?? '', port: Number(port), allowHalfOpen: false }))
    t.teardown(() => wire.socket.destroy())
    await once(wire.socket, 'connect')
    return wire
  }

  /** Sends the head of a request; `Host` is added. */
  head(line: string, fields: readonly string[] = []): void {
    this.socket.write([`${line} HTTP/1.1`, 'Host: registry', ...fields, '', ''].join('\r\n'))
  }

  /** Sends bytes; resolves when they are taken or the connection has ended. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise(resolve => this.socket.write(bytes, () => resolve()))
  }

  /** What has arrived and was not taken yet. */
  get waiting(): Buffer {
    const [first, ...more] = this.#chunks
    if (!first) return Buffer.alloc(0)
    if (more.length === 0) return first
    const joined = Buffer.concat(this.#chunks, this.#length)
    this.#chunks = [joined]
    return joined
  }

  #take(length: number): void {
    const rest = this.waiting.subarray(length)
    this.#chunks = [rest]
    this.#length = rest.length
  }

  /** The next answer; with `'head'` one that has no body whatever its length says. Rejects if the connection ends before it is whole. */
  async answer(kind: 'head' | 'whole' = 'whole'): Promise<WireAnswer> {
    await this.#until(() => this.waiting.includes('\r\n\r\n'))
    const end = this.waiting.indexOf('\r\n\r\n')
    const [first = '', ...fields] = this.waiting.subarray(0, end).toString('latin1').split('\r\n')
    const headers = Object.fromEntries(
      fields.map(field => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 2)])
    )
    const length = kind === 'head' ? 0 : Number(headers['content-length'] ?? 0)
    await this.#until(() => this.#length >= end + 4 + length)
    const body = this.waiting.subarray(end + 4, end + 4 + length)
    this.#take(end + 4 + length)
    return { status: Number(first.split(' ')[1]), headers, body }
  }

  /** Waits for so many bytes. */
  async bytes(count: number): Promise<Buffer> {
    await this.#until(() => this.#length >= count)
    return this.waiting
  }

  /** Waits for the end of the connection, and gives what had arrived besides. */
  async end(): Promise<Buffer> {
    while (!this.#ended) await this.#woken()
    return this.waiting
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#ended) throw new Error(`the connection ended after ${JSON.stringify(this.waiting.toString('latin1').slice(0, 300))}`)
      await this.#woken()
    }
  }

  #woken(): Promise<void> {
    return new Promise(resolve => void this.#wakes.push(resolve))
  }

  #wake(): void {
    for (const wake of this.#wakes.splice(0)) wake()
  }
}
