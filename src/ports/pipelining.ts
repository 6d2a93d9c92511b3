import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Bounds on requests that arrive before earlier ones of their connection were answered (RFC 9112 §9.3.2). */
export interface PipelineLimits {
  /** Waiting requests of a connection from which on its socket is not read until none waits. */
  pauseAt: number
  /** One more waiting request closes the connection. Above `pauseAt`, since one chunk holds many requests. */
  maxWaiting: number
  /** Waiting requests of all connections, without the first of each, which the number of connections bounds. */
  maxWaitingTotal: number
}

const defaults: PipelineLimits = { pauseAt: 7, maxWaiting: 512, maxWaitingTotal: 4096 }

/**
 * Runs `listener` for one request of a connection at a time, in their order; the others wait as parsed heads, for which
 * nothing was checked or opened. Node's server dispatches each pipelined request at once and queues the responses:
 * 64 KiB hold 3,600 requests, each with its authentication, open file and request to upstream. `onOverflow` gets the
 * remote address of a connection that is closed.
 */
export function inTurn(
  listener: RequestListener,
  onOverflow: (address: string) => void = () => {},
  limits: PipelineLimits = defaults
): RequestListener {
  const pipelines = new WeakMap<Socket, Pipeline>()
  const deps: PipelineDeps = { listener, onOverflow, limits, total: { waiting: 0 } }
  return (request, response) => {
    // Node gives the socket to the response that is the next to be sent. Requests that are not pipelined pay for nothing.
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
  total: { waiting: number }
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
    const { limits, total, onOverflow } = this.#deps
    const { length } = this.#waiting
    // The parser goes on to the end of the chunk also after the connection was closed.
    if (this.#socket.destroyed) return
    if (length >= limits.maxWaiting || (length > 0 && total.waiting >= limits.maxWaitingTotal)) {
      const address = this.#socket.remoteAddress ?? ''
      this.#drop()
      this.#socket.destroy()
      return void onOverflow(address)
    }
    if (length > 0) total.waiting++
    this.#waiting.push([request, response])
    // Not within the event: Node flushes the response after it.
    response.once('socket', () => process.nextTick(() => this.#next()))
    if (length + 1 >= limits.pauseAt) this.#pause()
  }

  #next(): void {
    const next = this.#waiting.shift()
    if (!next) return
    if (this.#waiting.length > 0) this.#deps.total.waiting--
    this.#deps.listener(...next)
    if (this.#paused && this.#waiting.length === 0) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  #drop(): void {
    this.#deps.total.waiting -= Math.max(0, this.#waiting.length - 1)
    this.#waiting = []
  }

  // While the socket is paused, a client that leaves is noticed when the next bytes are sent to it.
  #pause(): void {
    this.#paused = true
    this.#socket.pause()
  }
}
