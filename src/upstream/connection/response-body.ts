import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'

// Bytes that wait for their reader; the connection is paused when there are more.
const maxBufferedBytes = 256 * 1024
// A chunk of so many bytes is worth its way alone: over plain HTTP they are those of one read from the socket.
const largeChunkBytes = 32 * 1024

/** The head of an answer, and its body. */
export interface ResponseHead {
  status: number
  headers: IncomingHttpHeaders
  body: ResponseBody
}

/** Sends a request; resolves with the head of its answer. Rejects with undici's error, or with the signal's reason. */
export function dispatch(dispatcher: Dispatcher, request: Dispatcher.DispatchOptions, signal: AbortSignal): Promise<ResponseHead> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const body = new ResponseBody(signal)
    dispatcher.dispatch(request, {
      onRequestStart: controller => body.started(controller),
      onResponseStart: (_controller, status, headers) => {
        if (status >= 200) resolve({ status, headers, body })
      },
      onResponseData: (_controller, chunk) => body.push(chunk),
      onResponseEnd: () => body.end(),
      onResponseError: (_controller, error) => {
        body.fail(error)
        reject(error)
      }
    })
  })
}

/**
 * The body of an answer, read once. What arrives in one turn of the event loop is given in one piece: over TLS each record is a chunk of at most 16 KiB, and what a
 * chunk costs on its way to a client or to the disk is more than a copy of it.
 */
export class ResponseBody implements AsyncIterable<Buffer> {
  readonly #signal: AbortSignal
  readonly #onAbort: () => void
  #controller: Dispatcher.DispatchController | undefined
  #chunks: Buffer[] = []
  #bytes = 0
  #state: 'open' | 'ended' | Error = 'open'
  #wake: (() => void) | undefined
  /** Whether the reader is about to be woken. */
  #wakeScheduled = false

  constructor(signal: AbortSignal) {
    this.#signal = signal
    this.#onAbort = () => this.#abort(signal.reason)
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Called when the request is sent, and again if it is sent anew. */
  started(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#state !== 'open') controller.abort(this.#failure())
  }

  push(chunk: Buffer): void {
    if (this.#state !== 'open' || chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes >= maxBufferedBytes) this.#controller?.pause()
    if (!this.#wake || this.#wakeScheduled) return
    // Later in this turn there may be more.
    this.#wakeScheduled = true
    setImmediate(() => {
      this.#wakeScheduled = false
      this.#notify()
    })
  }

  end(): void {
    if (this.#state === 'open') this.#state = 'ended'
    this.#over()
  }

  fail(error: Error): void {
    if (this.#state === 'open') this.#state = error
    this.#over()
  }

  /** Gives it up; its connection is closed with it. */
  destroy(): void {
    if (this.#state === 'open') this.#abort(new Error('the body was given up'))
    this.#chunks = []
    this.#bytes = 0
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (let piece = await this.#take(); piece; piece = await this.#take()) yield piece
    } finally {
      this.destroy()
    }
  }

  async #take(): Promise<Buffer | undefined> {
    while (this.#bytes === 0) {
      if (this.#state === 'ended') return undefined
      if (this.#state !== 'open') throw this.#state
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    const piece = this.#next()
    if (this.#bytes <= maxBufferedBytes / 2 && this.#controller?.paused) this.#controller.resume()
    return piece
  }

  #next(): Buffer | undefined {
    const first = this.#chunks[0]
    if (first && (first.length >= largeChunkBytes || this.#chunks.length === 1)) {
      this.#bytes -= first.length
      return this.#chunks.shift()
    }
    const piece = Buffer.concat(this.#chunks, this.#bytes)
    this.#chunks = []
    this.#bytes = 0
    return piece
  }

  #abort(reason: unknown): void {
    const error = reason instanceof Error ? reason : new Error('the request was given up', { cause: reason })
    this.#controller?.abort(error)
    this.fail(error)
  }

  #failure(): Error {
    return this.#state instanceof Error ? this.#state : new Error('the body is over')
  }

  #over(): void {
    this.#signal.removeEventListener('abort', this.#onAbort)
    this.#notify()
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
