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

/** The requests of one connection. While one waits, the response to the running one is the next to be sent. */
class Pipeline {
  readonly #socket: Socket
  readonly #deps: PipelineDeps
  readonly #onClose = () => this.#next()
  #running = false
  #waiting: [request: IncomingMessage, response: ServerResponse][] = []
  #paused: boolean | undefined

  constructor(socket: Socket, deps: PipelineDeps) {
    this.#socket = socket
    this.#deps = deps
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    if (this.#running) this.#wait(request, response)
    else this.#run(request, response)
  }

  #run(request: IncomingMessage, response: ServerResponse): void {
    this.#running = true
    // Emitted after the last byte, or when the connection is gone: the response is the one that the socket is sending.
    response.once('close', this.#onClose)
    this.#deps.listener(request, response)
  }

  #wait(request: IncomingMessage, response: ServerResponse): void {
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
    if (length + 1 >= limits.pauseAt) this.#pause()
  }

  #next(): void {
    this.#running = false
    const next = this.#waiting.shift()
    if (!next) return
    if (this.#waiting.length > 0) this.#deps.total.waiting--
    // Nothing can be sent after a response with `Connection: close`.
    if (!this.#socket.writable) return void this.#drop()
    this.#run(...next)
    if (this.#paused && this.#waiting.length === 0) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  #drop(): void {
    this.#deps.total.waiting -= Math.max(0, this.#waiting.length - 1)
    this.#waiting = []
  }

  // Node resumes the socket at the end of each request that it parses, and when its buffer has drained. It emits
  // `resume` before it reads, so that pausing there leaves the bytes in the kernel, whose window stops the client.
  // While the socket is paused, a client that leaves is noticed when the next bytes are sent to it.
  #pause(): void {
    if (this.#paused === undefined) this.#socket.on('resume', () => this.#paused && this.#socket.pause())
    this.#paused = true
    this.#socket.pause()
  }
}
