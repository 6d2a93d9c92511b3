import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

/** Requests whose client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1). */
export const awaitingContinue = new WeakSet<IncomingMessage>()

// A small unread body is discarded, so that the connection can be reused; with a larger one the connection is closed.
const maxReusableBodyBytes = 256 * 1024
const discardLimit = { bytes: 256 * 1024 * 1024, ms: 5_000 }

/** Whether a request has a body at all (RFC 9112 §6). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Whether the client still sends a body. One that waits for `100 Continue` does not. */
export function isSending(request: IncomingMessage): boolean {
  return !request.complete && hasBody(request) && !awaitingContinue.has(request)
}

/** Whether the connection ends with the response to a request whose client still sends (RFC 9112 §9.3). */
export function endsConnection(request: IncomingMessage): boolean {
  return isSending(request) && Number(request.headers['content-length'] ?? Number.POSITIVE_INFINITY) > maxReusableBodyBytes
}

/**
 * Sends `body` and the end of a response whose head is written, while the client still sends: at once, so that the
 * client reads it, then discards what the client sends for a while. Closing with unread bytes resets the connection,
 * and the client would never read the response (RFC 9112 §9.6). A request body that goes on ends the connection.
 */
export async function endWhileSending(request: IncomingMessage, response: ServerResponse, body?: Uint8Array): Promise<void> {
  if (body) response.write(body)
  else response.flushHeaders()
  await discard(request)
  const { socket } = response
  response.end()
  if (!request.complete) socket?.destroySoon()
}

async function discard(request: IncomingMessage): Promise<void> {
  const stop = new AbortController()
  let bytes = 0
  const ended = new Promise<void>(resolve => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > discardLimit.bytes) resolve()
    })
    for (const event of ['end', 'close', 'error']) request.once(event, () => resolve())
    if (request.readableEnded || request.destroyed) resolve()
  })
  await Promise.race([ended, delay(discardLimit.ms, undefined, { signal: stop.signal, ref: false }).catch(() => {})])
  stop.abort()
}
