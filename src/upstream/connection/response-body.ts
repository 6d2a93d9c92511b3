import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import { Silence } from './silence.ts'

// The connection is paused when more bytes wait for their reader.
const maxBufferedBytes = 256 * 1024
// A chunk of this size is passed on without a copy: over plain HTTP it is one read from the socket.
const largeChunkBytes = 32 * 1024

/** The head of a response, and its body. */
export interface ResponseHead {
  status: number
  headers: IncomingHttpHeaders
  body: ResponseBody
}

/** Sends a request; resolves with the head of its response. Rejects with undici's error or the signal's reason. */
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
 * The body of a response, readable once. Bytes that arrive in one turn of the event loop are yielded in one chunk: over
 * TLS each record is a chunk of at most 16 KiB, and sending or writing a chunk costs more than copying it.
 */
export class ResponseBody implements AsyncIterable<Buffer> {
  readonly #signal: AbortSignal
  readonly #onAbort: () => void
  #controller: Dispatcher.DispatchController | undefined
  #chunks: Buffer[] = []
  #bytes = 0
  #state: 'open' | 'ended' | Error = 'open'
  #wake: (() => void) | undefined
  #wakeScheduled = false
  #silence: Silence | undefined
  #onOver: (() => void) | undefined

  constructor(signal: AbortSignal) {
    this.#signal = signal
    this.#onAbort = () => this.#abort(signal.reason)
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Calls `tell` when the body is over: ended, failed or abandoned. */
  onOver(tell: () => void): void {
    if (this.#state === 'open') this.#onOver = tell
    else tell()
  }

  /** Calls `tell` each time that its reader has waited for a byte for `ms` more. */
  onSilence(ms: number, tell: () => void): void {
    if (this.#state === 'open') this.#silence ??= new Silence(ms, tell)
  }

  /** For how many ms its reader has been waiting for a byte. */
  get silentMs(): number {
    return this.#silence?.elapsedMs ?? 0
  }

  /** Ends the body with an error, and closes its connection. */
  giveUp(error: Error): void {
    if (this.#state === 'open') this.#abort(error)
  }

  /** Called when the request is sent, and again if undici sends it again. */
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
    // More may arrive in this turn.
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

  /** Abandons the body and closes its connection. */
  destroy(): void {
    if (this.#state === 'open') this.#abort(new Error('the body was abandoned'))
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
      this.#silence?.begin()
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
      this.#silence?.end()
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
    const error = reason instanceof Error ? reason : new Error('the request was aborted', { cause: reason })
    this.#controller?.abort(error)
    this.fail(error)
  }

  #failure(): Error {
    return this.#state instanceof Error ? this.#state : new Error('the body is over')
  }

  #over(): void {
    this.#signal.removeEventListener('abort', this.#onAbort)
    this.#silence?.close()
    this.#notify()
    const tell = this.#onOver
    this.#onOver = undefined
    tell?.()
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
