import { once } from 'node:events'
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type SecureContext } from 'node:tls'
import { decodeChunks, type HttpHead, HttpProtocolError, parseHead } from './response-head.ts'
import { SocketBody } from './socket-body.ts'

/** Where a connection leads. */
export interface HttpOrigin {
  host: string
  port: number
  /** Present where it is encrypted. */
  secureContext?: SecureContext | undefined
}

/** Timeouts of a connection in ms. */
export interface HttpTimeouts {
  /** For a connection, TLS included. */
  connectMs: number
  /** For the head of a response. */
  responseMs: number
  /** For the next byte of a body, while a read is pending. */
  bodyIdleMs: number
  /** For the next request; then the idle connection is closed. */
  keepAliveMs: number
}

/** A response. A body of known length is read from the connection, any other one was received whole. */
export interface HttpClientResponse {
  head: HttpHead
  body: SocketBody | Buffer
}

// For bytes without a pending read: shared by all connections, since they are copied at once. A TLS record fits.
const sharedBuffer = Buffer.allocUnsafeSlow(16 * 1024)
const maxHeadBytes = 64 * 1024
// Responses without a length are error responses.
const maxWholeBodyBytes = 1024 * 1024

/** An HTTP/1.1 connection with one request at a time, not pipelined (RFC 9112). */
export class Connection {
  /** `idle`: ready for a request; `busy`: connecting, or a response is not complete. */
  state: 'idle' | 'busy' | 'closed' = 'busy'
  readonly #socket: Socket
  readonly #encrypted: boolean
  readonly #timeouts: HttpTimeouts
  readonly #onStateChange: (connection: Connection) => void
  #pendingResponse: PromiseWithResolvers<HttpClientResponse> | undefined
  #responseStarted = false
  /** Received bytes of the head, or of a body that is received whole. */
  #collected: Buffer = Buffer.alloc(0)
  #head: HttpHead | undefined
  #body: SocketBody | undefined
  #bodyTarget: Buffer | undefined
  #timer: NodeJS.Timeout | undefined

  private constructor({ host, port, secureContext }: HttpOrigin, timeouts: HttpTimeouts, onStateChange: (connection: Connection) => void) {
    this.#encrypted = secureContext !== undefined
    this.#timeouts = timeouts
    this.#onStateChange = onStateChange
    const onread = {
      // The kernel's next read writes to the buffer returned here, however much later that is. So a reader's buffer is
      // returned only while its read is pending. TLS records are small and arrive one by one: they are copied.
      buffer: () => {
        this.#bodyTarget = secureContext ? undefined : this.#body?.target
        return this.#bodyTarget ?? sharedBuffer
      },
      callback: (length: number, buffer: Uint8Array) => this.#destroyOnError(() => this.#received(length, buffer))
    }
    // A literal address is not allowed as a server name (RFC 6066 §3).
    const options = { host, port, onread, ...(isIP(host) === 0 ? { servername: host } : {}) }
    this.#socket = secureContext
      ? connectTls({ ...options, secureContext, ALPNProtocols: ['http/1.1'] } as ConnectionOptions)
      : connectPlain(options)
    this.#socket.setNoDelay(true)
    this.#socket.on('error', error => this.#fail(error))
    this.#socket.on('close', () => {
      this.#fail(closedError())
      this.state = 'closed'
      this.#onStateChange(this)
    })
  }

  /** Connects. `onStateChange` is called whenever `state` has changed, except to `busy`. */
  static async open(target: HttpOrigin, timeouts: HttpTimeouts, onStateChange: (connection: Connection) => void): Promise<Connection> {
    const connection = new Connection(target, timeouts, onStateChange)
    await connection.#connected(target.secureContext ? 'secureConnect' : 'connect')
    return connection
  }

  async #connected(event: 'connect' | 'secureConnect'): Promise<void> {
    const timeout = Object.assign(new Error('the connection timed out'), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => this.#socket.destroy(timeout), this.#timeouts.connectMs)
    try {
      await once(this.#socket, event)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether a byte of the response to the last request was received. */
  get responseStarted(): boolean {
    return this.#responseStarted
  }

  /** Sends a request without a body. Resolves as soon as the head of the response was received. */
  async request(request: string): Promise<HttpClientResponse> {
    if (this.#socket.destroyed) throw closedError()
    this.state = 'busy'
    this.#responseStarted = false
    this.#head = undefined
    this.#collected = Buffer.alloc(0)
    this.#pendingResponse = Promise.withResolvers()
    this.#setTimeout(this.#timeouts.responseMs, Object.assign(new Error('the response timed out'), { code: 'ETIMEDOUT' }))
    this.#socket.ref()
    this.#socket.write(request, 'latin1')
    this.#socket.resume()
    return this.#pendingResponse.promise
  }

  #setTimeout(ms: number, error: Error | undefined): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#socket.destroy(error), ms).unref()
  }

  #destroyOnError(task: () => boolean): boolean {
    try {
      return task()
    } catch (error) {
      this.#socket.destroy(error as Error)
      return false
    }
  }

  // Returns whether to go on reading from the socket.
  #received(length: number, buffer: Uint8Array): boolean {
    const body = this.#body
    if (body) {
      // Where the buffer was filled, Node reads again at once.
      const full = length === buffer.length
      if (this.#bodyTarget) body.onFilled(length, full)
      else body.receive(buffer.subarray(0, length), this.#encrypted ? 'perhaps' : full)
      // After the body reading goes on, to notice when the peer closes the connection.
      return this.#body === undefined || !body.idle
    }
    if (!this.#pendingResponse) throw new HttpProtocolError('bytes were received without a request')
    this.#responseStarted = true
    this.#collected = Buffer.concat([this.#collected, buffer.subarray(0, length)])
    return this.#head ? this.#finishWhole(this.#head) : this.#parseHead()
  }

  #parseHead(): boolean {
    const end = this.#collected.indexOf('\r\n\r\n')
    if ((end < 0 ? this.#collected.length : end) > maxHeadBytes) throw new HttpProtocolError('the head of the response is too long')
    if (end < 0) return true
    const head = parseHead(this.#collected.toString('latin1', 0, end))
    this.#collected = this.#collected.subarray(end + 4)
    // An interim response (RFC 9110 §15.2); the final one follows.
    if (head.status < 200) return this.#parseHead()
    this.#head = head
    const large = typeof head.framing === 'number' && head.framing > 0 && head.status < 300
    return large ? this.#startBody(head, head.framing as number) : this.#finishWhole(head)
  }

  #startBody(head: HttpHead, length: number): boolean {
    clearTimeout(this.#timer)
    const body = new SocketBody(
      {
        resume: () => void this.#socket.resume(),
        pause: () => void this.#socket.pause(),
        onComplete: () => this.#finishResponse(),
        onAbandon: () => void this.#socket.destroy()
      },
      length,
      this.#timeouts.bodyIdleMs
    )
    const early = this.#collected
    this.#collected = Buffer.alloc(0)
    this.#body = body
    this.#pendingResponse?.resolve({ head, body })
    this.#pendingResponse = undefined
    if (early.length > 0) body.receive(early, false)
    // Pauses until the first read, unless the body is complete.
    return this.#body === undefined
  }

  #finishWhole(head: HttpHead): boolean {
    const { framing } = head
    if (this.#collected.length > maxWholeBodyBytes) throw new HttpProtocolError('the response without a length is too long')
    if (framing === 'close') return true
    const decoded =
      framing === 'chunked'
        ? decodeChunks(this.#collected)
        : { body: this.#collected.subarray(0, framing), rest: this.#collected.length - framing }
    if (!decoded || decoded.rest < 0) return true
    if (decoded.rest > 0) throw new HttpProtocolError('more bytes were received than the response has')
    this.#pendingResponse?.resolve({ head, body: decoded.body })
    this.#pendingResponse = undefined
    this.#finishResponse()
    return true
  }

  // Until the next request nothing but the end of the connection may arrive.
  #finishResponse(): void {
    this.#body = undefined
    if (!this.#head?.keepAlive || this.#socket.destroyed) return void this.#socket.destroy()
    this.state = 'idle'
    this.#setTimeout(this.#timeouts.keepAliveMs, undefined)
    this.#socket.unref()
    this.#socket.resume()
    this.#onStateChange(this)
  }

  #fail(error: Error): void {
    clearTimeout(this.#timer)
    const [pending, body, head] = [this.#pendingResponse, this.#body, this.#head]
    this.#pendingResponse = undefined
    this.#body = undefined
    if (pending && head?.framing === 'close') pending.resolve({ head, body: this.#collected })
    else pending?.reject(error)
    body?.fail(Object.assign(new Error('the body ended early', { cause: error }), { code: 'ECONNRESET' }))
  }

  destroy(): void {
    this.#socket.destroy(closedError())
  }
}

function closedError(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
}
