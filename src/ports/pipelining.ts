import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Bounds on requests that arrive before earlier ones of their connection were answered (RFC 9112 §9.3.2). */
export interface PipelineLimits {
  /** Waiting requests of a connection from which on its socket is not read until none waits. */
  pauseAt: number
  /**
   * Waiting requests of all connections, without the first of each, which the number of connections bounds. One more
   * closes the connection with the most. One chunk of 64 KiB, which Node parses to its end, holds 3,640 at most.
   */
  maxWaitingTotal: number
}

const defaults: PipelineLimits = { pauseAt: 7, maxWaitingTotal: 4096 }

/**
 * Runs `listener` for one request of a connection at a time, in their order; the others wait as parsed heads, for which
 * nothing was checked or opened. Node's server dispatches each pipelined request at once and queues the responses:
 * 64 KiB hold 3,600 requests, each with its authentication, open file and request to upstream. A connection is closed
 * only where all together have too many waiting requests, and then it is the one with the most; `onOverflow` gets its
 * remote address. Its client may repeat what was not answered (RFC 9112 §9.3.2).
 */
export function inTurn(
  listener: RequestListener,
  onOverflow: (address: string) => void = () => {},
  limits: PipelineLimits = defaults
): RequestListener {
  const pipelines = new WeakMap<Socket, Pipeline>()
  const deps: PipelineDeps = { listener, onOverflow, limits, total: { waiting: 0, pipelines: new Set() } }
  return (request, response) => {
    // Node gives the socket to the response that is the next to be sent: others than pipelined requests cost nothing.
    if (response.socket !== null) return listener(request, response)
    const { socket } = request
    let pipeline = pipelines.get(socket)
    if (!pipeline) {
      pipeline = new Pipeline(socket, deps)
      pipelines.set(socket, pipeline)
    }
    pipeline.add(request, response)
  }
}

interface PipelineDeps {
  listener: RequestListener
  onOverflow: (address: string) => void
  limits: PipelineLimits
  /** Of all connections; `pipelines` are those that count in it. */
  total: { waiting: number; pipelines: Set<Pipeline> }
}

/** The waiting requests of one connection. */
class Pipeline {
  readonly #socket: Socket
  readonly #deps: PipelineDeps
  #waiting: [request: IncomingMessage, response: ServerResponse][] = []
  #paused = false

  constructor(socket: Socket, deps: PipelineDeps) {
    this.#socket = socket
    this.#deps = deps
    // Responses after one with `Connection: close` never get the socket.
    socket.once('close', () => this.#drop())
    // Node resumes the socket at the end of each request that it parses, and when its buffer has drained. It emits
    // `resume` before it reads, so that pausing there leaves the bytes in the kernel, whose window stops the client.
    socket.on('resume', () => this.#paused && socket.pause())
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    const { pauseAt } = this.#deps.limits
    // The parser goes on to the end of the chunk also after the connection was closed.
    if (this.#socket.destroyed) return
    this.#waiting.push([request, response])
    this.#count(1)
    // Not within the event: Node flushes the response after it.
    response.once('socket', () => process.nextTick(() => this.#next()))
    if (this.#waiting.length >= pauseAt) this.#pause()
    this.#makeRoom()
  }

  /** Requests that count in the total: all but the first. */
  get counted(): number {
    return Math.max(0, this.#waiting.length - 1)
  }

  #next(): void {
    const next = this.#waiting.shift()
    if (!next) return
    this.#count(-1)
    this.#deps.listener(...next)
    if (this.#paused && this.#waiting.length === 0) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  // After one request was added (1) or taken (-1).
  #count(change: 1 | -1): void {
    const { total } = this.#deps
    const { counted } = this
    if (change === 1 ? counted > 0 : this.#waiting.length > 0) total.waiting += change
    if (counted > 0) total.pipelines.add(this)
    else total.pipelines.delete(this)
  }

  #makeRoom(): void {
    const { total, limits } = this.#deps
    if (total.waiting <= limits.maxWaitingTotal) return
    let most: Pipeline = this
    for (const each of total.pipelines) if (each.counted > most.counted) most = each
    most.#overflow()
  }

  #overflow(): void {
    const address = this.#socket.remoteAddress ?? ''
    this.#drop()
    this.#socket.destroy()
    this.#deps.onOverflow(address)
  }

  #drop(): void {
    this.#deps.total.waiting -= this.counted
    this.#deps.total.pipelines.delete(this)
    this.#waiting = []
  }

  // While the socket is paused, a client that leaves is noticed when the next bytes are sent to it.
  #pause(): void {
    this.#paused = true
    this.#socket.pause()
  }
}
