import type { Socket } from 'node:net'
import { connect } from 'node:net'

/** An answer as it stood on the wire. */
export interface WireAnswer {
  status: number
  headers: Map<string, string>
  body: Buffer
  /** The connection ended before the body was complete. */
  cut: boolean
}

/** The registry closed the connection without an answer. */
export class NoAnswer extends Error {
  constructor(cause?: unknown) {
    super('the registry closed the connection without an answer', { cause })
    this.name = 'NoAnswer'
  }
}

const statusLine = /^HTTP\/1\.1 (\d{3}) [^\r\n]*$/

/** Reads the first answer to `method` from what has arrived; undefined if more has to come. Throws if it is not HTTP. */
export function parseAnswer(bytes: Buffer, method: string, state: 'open' | 'ended'): { answer: WireAnswer; used: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = Number(statusLine.exec(first)?.[1])
  if (!(status > 0)) throw new Error(`not the first line of an answer: ${first.slice(0, 200)}`)
  const headers = new Map(
    lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()] as const)
  )
  const begin = end + 4
  // The interim answer to Expect; the one that counts follows.
  if (status < 200) {
    const next = parseAnswer(bytes.subarray(begin), method, state)
    return next && { answer: next.answer, used: begin + next.used }
  }
  const empty = method === 'HEAD' || status === 204 || status === 304
  const rest = bytes.subarray(begin)
  const body = empty ? { bytes: Buffer.alloc(0), used: 0 } : parseBody(rest, headers)
  if (body) return { answer: { status, headers, body: body.bytes, cut: false }, used: begin + body.used }
  return state === 'ended' ? { answer: { status, headers, body: rest, cut: true }, used: bytes.length } : undefined
}

function parseBody(rest: Buffer, headers: Map<string, string>): { bytes: Buffer; used: number } | undefined {
  if (headers.get('transfer-encoding') === 'chunked') return parseChunks(rest)
  const length = Number(headers.get('content-length') ?? Number.NaN)
  if (Number.isNaN(length)) throw new Error('the answer has neither Content-Length nor chunks')
  return rest.length < length ? undefined : { bytes: rest.subarray(0, length), used: length }
}

function parseChunks(rest: Buffer): { bytes: Buffer; used: number } | undefined {
  const chunks: Buffer[] = []
  for (let at = 0; ; ) {
    const line = rest.indexOf('\r\n', at)
    if (line < 0) return undefined
    const size = Number.parseInt(rest.toString('latin1', at, line), 16)
    if (Number.isNaN(size)) throw new Error('a chunk of the answer has no size')
    const next = line + 2 + size + 2
    if (rest.length < next) return undefined
    if (size === 0) return { bytes: Buffer.concat(chunks), used: next }
    chunks.push(rest.subarray(line + 2, line + 2 + size))
    at = next
  }
}

/** A connection that is kept as long as both sides want; one request at a time. */
export class Wire {
  readonly #host: string
  readonly #port: number
  #socket: Socket | undefined
  #arrived = Buffer.alloc(0)
  #look: () => void = () => {}

  /** `address` is `<host>:<port>`. */
  constructor(address: string) {
    const [host = '', port = ''] = address.split(':')
    this.#host = host
    this.#port = Number(port)
  }

  /** Sends a whole request and reads its answer. Bytes beyond the answer are a fault. */
  async exchange(method: string, request: Buffer): Promise<WireAnswer> {
    const socket = await this.#connected()
    socket.write(request)
    const answer = await this.#answer(socket, method)
    const last = answer.headers.get('connection')?.toLowerCase() === 'close' || answer.cut
    // What is refused before its first line was read is answered with a body, even if it was a HEAD.
    const refused = last && method === 'HEAD' && answer.status >= 400
    if (this.#arrived.length > 0 && !refused) throw new Error(`bytes follow the answer: ${this.#arrived.toString('latin1', 0, 100)}`)
    if (last) this.close()
    return answer
  }

  close(): void {
    this.#socket?.destroy()
    this.#socket = undefined
    this.#arrived = Buffer.alloc(0)
  }

  #connected(): Promise<Socket> {
    const open = this.#socket
    if (open && !open.destroyed && !open.readableEnded) return Promise.resolve(open)
    this.close()
    const socket = connect({ host: this.#host, port: this.#port, noDelay: true })
    this.#socket = socket
    socket.on('data', chunk => {
      this.#arrived = Buffer.concat([this.#arrived, chunk])
      this.#look()
    })
    return new Promise((resolve, reject) => {
      socket.once('connect', () => resolve(socket))
      socket.once('error', reject)
    })
  }

  #answer(socket: Socket, method: string): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      let failure: unknown
      const finish = (settle: () => void) => {
        socket.off('error', fail)
        socket.off('close', closed)
        this.#look = () => {}
        settle()
      }
      const look = (state: 'open' | 'ended') => {
        try {
          const found = parseAnswer(this.#arrived, method, state)
          if (!found) return
          this.#arrived = this.#arrived.subarray(found.used)
          finish(() => resolve(found.answer))
        } catch (error) {
          finish(() => reject(error))
        }
      }
      const fail = (error: Error) => {
        failure = error
      }
      const closed = () => {
        look('ended')
        finish(() => reject(new NoAnswer(failure)))
      }
      this.#look = () => look('open')
      socket.on('error', fail)
      socket.once('close', closed)
    })
  }
}

/** Sends bytes that need not be a request, ends its side, and reads until the registry does so, too. */
export function throwAt(address: string, bytes: Buffer): Promise<Buffer> {
  const [host = '', port = ''] = address.split(':')
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    const socket = connect({ host, port: Number(port) }, () => socket.end(bytes))
    socket.on('data', chunk => chunks.push(chunk))
    // A reset is an answer to garbage, too.
    socket.on('error', () => {})
    socket.once('close', () => resolve(Buffer.concat(chunks)))
  })
}
