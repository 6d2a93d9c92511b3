import { once } from 'node:events'
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type SecureContext } from 'node:tls'
import { ResponseBody } from './response-body.ts'
import { decodeChunks, HttpProtocolError, parseHead, type ResponseHead } from './response-head.ts'

/** Where a connection leads. */
export interface HttpOrigin {
  host: string
  port: number
  /** Present where it is encrypted. */
  secureContext?: SecureContext | undefined
}

/** How long is waited for what, in ms. */
export interface HttpTimeouts {
  /** For a connection. */
  connectMs: number
  /** For the head of an answer. */
  responseMs: number
  /** For the next byte of a body, while somebody wants one. */
  bodyIdleMs: number
  /** An idle connection is closed after so long. */
  keepAliveMs: number
}

/** An answer whose length is known has its body on the wire, any other one is here whole. */
export interface HttpResponse {
  head: ResponseHead
  body: ResponseBody | Buffer
}

// Bytes that nobody has made room for come here and are copied at once, whatever connection they belong to. A record of TLS fits.
const sharedBuffer = Buffer.allocUnsafeSlow(16 * 1024)
const maxHeadBytes = 64 * 1024
// Answers without a length are those about errors.
const maxWholeBodyBytes = 1024 * 1024

/** One connection, with one question at a time (RFC 9112). */
export class Connection {
  /** Whether it can be asked, is being asked, or is gone. */
  state: 'idle' | 'busy' | 'closed' = 'busy'
  readonly #socket: Socket
  readonly #encrypted: boolean
  readonly #timeouts: HttpTimeouts
  readonly #onStateChange: (connection: Connection) => void
  #response: PromiseWithResolvers<HttpResponse> | undefined
  #responseStarted = false
  /** Of the head, or of an answer that is taken whole. */
  #collected: Buffer = Buffer.alloc(0)
  #head: ResponseHead | undefined
  #body: ResponseBody | undefined
  #bodyTarget: Buffer | undefined
  #timer: NodeJS.Timeout | undefined

  private constructor({ host, port, secureContext }: HttpOrigin, times: HttpTimeouts, changed: (connection: Connection) => void) {
    this.#encrypted = secureContext !== undefined
    this.#timeouts = times
    this.#onStateChange = changed
    const onread = {
      // What is given here is written to by the next read, even if that comes much later; so it is room only while somebody waits. Records of TLS are small, and come one by one.
      buffer: () => {
        this.#bodyTarget = secureContext ? undefined : this.#body?.target
        return this.#bodyTarget ?? sharedBuffer
      },
      callback: (length: number, buffer: Uint8Array) => this.#destroyOnError(() => this.#received(length, buffer))
    }
    // An address is no name that could be asked for (RFC 6066 §3).
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

  /** `changed` is told whenever its state is another one. */
  static async open(target: HttpOrigin, times: HttpTimeouts, changed: (connection: Connection) => void): Promise<Connection> {
    const connection = new Connection(target, times, changed)
    await connection.#connected(target.secureContext ? 'secureConnect' : 'connect')
    return connection
  }

  async #connected(event: 'connect' | 'secureConnect'): Promise<void> {
    const late = Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => this.#socket.destroy(late), this.#timeouts.connectMs)
    try {
      await once(this.#socket, event)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether a byte of the answer has come. */
  get responseStarted(): boolean {
    return this.#responseStarted
  }

  /** Sends a request without a body; resolves with the answer as soon as its head is there. */
  async request(request: string): Promise<HttpResponse> {
    if (this.#socket.destroyed) throw closedError()
    this.state = 'busy'
    this.#responseStarted = false
    this.#head = undefined
    this.#collected = Buffer.alloc(0)
    this.#response = Promise.withResolvers()
    this.#setTimeout(this.#timeouts.responseMs, Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }))
    this.#socket.ref()
    this.#socket.write(request, 'latin1')
    this.#socket.resume()
    return this.#response.promise
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

  // True while more may come.
  #received(length: number, buffer: Uint8Array): boolean {
    const body = this.#body
    if (body) {
      // The system is asked again at once when it has filled what it was given.
      const full = length === buffer.length
      if (this.#bodyTarget) body.onFilled(length, full)
      else body.receive(buffer.subarray(0, length), this.#encrypted ? 'perhaps' : full)
      // Behind a body comes the end of the connection, sooner or later.
      return this.#body === undefined || !body.idle
    }
    if (!this.#response) throw new HttpProtocolError('bytes came that nobody asked for')
    this.#responseStarted = true
    this.#collected = Buffer.concat([this.#collected, buffer.subarray(0, length)])
    return this.#head ? this.#finishWhole(this.#head) : this.#parseHead()
  }

  #parseHead(): boolean {
    const end = this.#collected.indexOf('\r\n\r\n')
    if ((end < 0 ? this.#collected.length : end) > maxHeadBytes) throw new HttpProtocolError('the answer has a head without an end')
    if (end < 0) return true
    const head = parseHead(this.#collected.toString('latin1', 0, end))
    this.#collected = this.#collected.subarray(end + 4)
    // An interim one (RFC 9110 §15.2): the answer follows.
    if (head.status < 200) return this.#parseHead()
    this.#head = head
    const large = typeof head.framing === 'number' && head.framing > 0 && head.status < 300
    return large ? this.#startBody(head, head.framing as number) : this.#finishWhole(head)
  }

  #startBody(head: ResponseHead, length: number): boolean {
    clearTimeout(this.#timer)
    const body = new ResponseBody(
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
    this.#response?.resolve({ head, body })
    this.#response = undefined
    if (early.length > 0) body.receive(early, false)
    // Nobody has asked for a byte of it yet.
    return this.#body === undefined
  }

  #finishWhole(head: ResponseHead): boolean {
    const { framing } = head
    if (this.#collected.length > maxWholeBodyBytes) throw new HttpProtocolError('the answer does not tell its length')
    if (framing === 'close') return true
    const decoded =
      framing === 'chunked'
        ? decodeChunks(this.#collected)
        : { body: this.#collected.subarray(0, framing), rest: this.#collected.length - framing }
    if (!decoded || decoded.rest < 0) return true
    if (decoded.rest > 0) throw new HttpProtocolError('more bytes came than the answer has')
    this.#response?.resolve({ head, body: decoded.body })
    this.#response = undefined
    this.#finishResponse()
    return true
  }

  // What comes from now on is its end, or no answer of ours.
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
    const [asking, body, head] = [this.#response, this.#body, this.#head]
    this.#response = undefined
    this.#body = undefined
    if (asking && head?.framing === 'close') asking.resolve({ head, body: this.#collected })
    else asking?.reject(error)
    body?.fail(Object.assign(new Error('the body ended early', { cause: error }), { code: 'ECONNRESET' }))
  }

  destroy(): void {
    this.#socket.destroy(closedError())
  }
}

function closedError(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' })
}
