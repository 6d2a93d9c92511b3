import type { IncomingMessage, ServerResponse } from 'node:http'
import { OciError } from '../oci/errors.ts'
import type { StallDetector } from './stall-detector.ts'

/** Requests whose client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1). */
export const awaitingContinue = new WeakSet<IncomingMessage>()

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
      // Only now, when rights and capacity were checked.
      if (awaitingContinue.delete(request)) {
        response.removeHeader('connection')
        response.writeContinue()
      }
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

/** A small body, whole; SIZE_INVALID with 413 if it has more than `limit` bytes. */
export async function receiveWhole(request: IncomingMessage, body: AsyncIterable<Buffer>, limit: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > limit) throw tooLarge(limit)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

function tooLarge(limit: number): OciError {
  return new OciError('SIZE_INVALID', { status: 413, detail: { reason: 'larger than limits.manifestBytes', limit } })
}

/** Whether a request has a body at all (RFC 9112 §6). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}
