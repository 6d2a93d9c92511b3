import type { IncomingMessage, ServerResponse } from 'node:http'
import { OciError } from '../oci/errors.ts'
import type { StallDetector } from './stall-detector.ts'

/** Requests whose client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1). */
export const awaitingContinue = new WeakSet<IncomingMessage>()

/** The client sent less than `limits.minimumRate` wants; its connection is closed. */
export class SlowClientError extends Error {
  constructor() {
    super('the client sends too slowly')
    this.name = 'SlowClientError'
  }
}

/** The body of a request, as it comes. A client that is too slow is closed. `moved` is told of each chunk. */
export async function* receiveBody(
  request: IncomingMessage,
  response: ServerResponse,
  progress: StallDetector,
  moved: (bytes: number) => void
): AsyncIterable<Buffer> {
  // Asked for only now, when rights and space were checked.
  if (awaitingContinue.delete(request)) {
    response.removeHeader('connection')
    response.writeContinue()
  }
  const watched = progress.receiving(() => request.destroy(new SlowClientError()))
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      watched.progressed(chunk.length)
      moved(chunk.length)
      // A disk that is slow, or a limit of ours, is not the client's fault.
      watched.pause()
      yield chunk
      watched.resume()
    }
  } finally {
    watched.end()
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
