import type { IncomingMessage, ServerResponse } from 'node:http'
import { OciError } from '../oci/errors.ts'
import { type Hold, tooMany } from './held-bytes.ts'
import type { StallDetector } from './stall-detector.ts'
import { awaitingContinue } from './unread-body.ts'

/** The client sent less than `limits.minimumRate`; its connection is closed. */
export class SlowClientError extends Error {
  constructor() {
    super('the client sends too slowly')
    this.name = 'SlowClientError'
  }
}

/**
 * The body of a request while it arrives; `onChunk` gets the length of each chunk. A client that is too slow is
 * disconnected. An iterator by hand: Node's own below it is then the only generator that each chunk passes.
 */
export function receiveBody(
  request: IncomingMessage,
  response: ServerResponse,
  stalls: StallDetector,
  onChunk: (bytes: number) => void
): AsyncIterable<Buffer> {
  return {
    [Symbol.asyncIterator]() {
      writeContinue(request, response)
      const chunks: AsyncIterator<Buffer> = request.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
      const transfer = stalls.receiving(() => request.destroy(new SlowClientError()))
      return {
        async next() {
          transfer.resume()
          try {
            const next = await chunks.next()
            if (next.done) transfer.end()
            else {
              transfer.progressed(next.value.length)
              onChunk(next.value.length)
              // The time until the next call is not the client's: a slow disk, or a limit of ours.
              transfer.pause()
            }
            return next
          } catch (error) {
            transfer.end()
            throw error
          }
        },
        async return() {
          transfer.end()
          await chunks.return?.()
          return { done: true, value: undefined }
        }
      }
    }
  }
}

/** How a body is received whole. */
export interface ReceiveOptions {
  stalls: StallDetector
  /** Counts the bytes; may have the body give way. */
  hold: Hold
  limitBytes: number
  /** Gets the length of each chunk. */
  onChunk: (bytes: number) => void
}

/**
 * A small body, whole; SIZE_INVALID with 413 if it has more than `limitBytes` bytes, TOOMANYREQUESTS if it gives way. A
 * client that is too slow is disconnected.
 */
export async function receiveWhole(
  request: IncomingMessage,
  response: ServerResponse,
  { stalls, hold, limitBytes, onChunk }: ReceiveOptions
): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw tooLarge(limitBytes)
  writeContinue(request, response)
  const received = Promise.withResolvers<Buffer>()
  const left = () => received.reject(new Error('the client left'))
  const chunks: Buffer[] = []
  let size = 0
  const take = (chunk: Buffer) => {
    try {
      hold.grow(chunk.length)
      size += chunk.length
      if (size > limitBytes) throw tooLarge(limitBytes)
      chunks.push(chunk)
      transfer.progressed(chunk.length)
      onChunk(chunk.length)
    } catch (error) {
      received.reject(error)
    }
  }
  const end = () => received.resolve(Buffer.concat(chunks, size))
  const transfer = stalls.receiving(() => request.destroy(new SlowClientError()))
  hold.giveWay = () => received.reject(tooMany())
  if (request.destroyed) left()
  request.on('data', take).once('end', end).once('error', received.reject).once('close', left)
  try {
    return await received.promise
  } finally {
    hold.giveWay = undefined
    transfer.end()
    request.off('data', take).off('end', end).off('error', received.reject).off('close', left)
  }
}

// Only once rights and capacity were checked.
function writeContinue(request: IncomingMessage, response: ServerResponse): void {
  if (!awaitingContinue.delete(request)) return
  response.removeHeader('connection')
  response.writeContinue()
}

function tooLarge(limit: number): OciError {
  return new OciError('SIZE_INVALID', {
    status: 413,
    detail: { reason: 'larger than its kind of body may be (limits.manifestBytes for a manifest)', limit }
  })
}
