import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { type ErrorCode, OciError } from '../oci/errors.ts'
import { UploadOffsetError } from '../oci/sink.ts'
import { contentRangeOfUpload } from './headers.ts'
import { awaitingContinue, hasBody } from './receive.ts'

// I/O errors of the storage, and what the client reads of them: no path, which is for the operator.
const storageErrors: Record<string, { code: ErrorCode; reason: string; headers?: Record<string, string> }> = {
  ENOSPC: { code: 'INSUFFICIENT_STORAGE', reason: "no space is left on the registry's storage" },
  EDQUOT: { code: 'INSUFFICIENT_STORAGE', reason: "the quota of the registry's storage is used up" },
  EFBIG: { code: 'INSUFFICIENT_STORAGE', reason: "larger than the registry's storage takes" },
  EROFS: { code: 'UNKNOWN', reason: "the registry's disk is mounted read-only" },
  EIO: { code: 'UNKNOWN', reason: "the registry's storage reports an input/output error" },
  EMFILE: { code: 'UNAVAILABLE', reason: 'the registry has too many files open' },
  ENFILE: { code: 'UNAVAILABLE', reason: 'the node has too many files open' },
  ESTALLED: { code: 'UNAVAILABLE', reason: "the registry's storage does not answer", headers: { 'retry-after': '10' } }
}

/** The error that the client reads. An internal error becomes UNKNOWN, without its message. */
export function toOciError(error: unknown): OciError {
  if (error instanceof OciError) return error
  if (error instanceof UploadOffsetError) {
    return new OciError('BLOB_UPLOAD_INVALID', {
      status: 416,
      detail: { reason: 'the chunk does not begin where the upload session stands', offset: error.offset },
      headers: { range: contentRangeOfUpload(error.offset) },
      cause: error
    })
  }
  const { code, statusCode, shortage } = error as { code?: unknown; statusCode?: unknown; shortage?: unknown }
  const known = typeof code === 'string' ? storageErrors[code] : undefined
  // A configured limit says which one, and by how much it is exceeded.
  if (known)
    return new OciError(known.code, {
      detail: shortage ?? { reason: known.reason },
      cause: error,
      ...(known.headers && { headers: known.headers })
    })
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new OciError('UNSUPPORTED', { status: statusCode, detail: { reason: (error as Error).message }, cause: error })
  }
  return new OciError('UNKNOWN', { cause: error })
}

// A small unread body is discarded, so that the connection can be reused; with a larger one the connection is closed.
const maxReusableBodyBytes = 256 * 1024
const discardLimit = { bytes: 256 * 1024 * 1024, ms: 5_000 }

/**
 * The one error writer. While the client is still sending, writes the response at once and closes the connection after
 * it. Until then discards the body: closing with unread bytes resets the connection, and the client would never read
 * the response (RFC 9112 §9.6).
 */
export async function writeError(request: IncomingMessage, response: ServerResponse, error: OciError): Promise<void> {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const body = Buffer.from(JSON.stringify(error))
  const unread = hasBody(request) && !request.readableEnded
  const awaitsContinue = awaitingContinue.has(request)
  const small = !awaitsContinue && Number(request.headers['content-length'] ?? Number.POSITIVE_INFINITY) <= maxReusableBodyBytes
  if (unread && !small) response.setHeader('connection', 'close')
  response.writeHead(error.status, { 'content-type': 'application/json', 'content-length': body.length, ...error.headers })
  if (!unread || awaitsContinue) return void response.end(request.method === 'HEAD' ? undefined : body)
  if (request.method !== 'HEAD') response.write(body)
  await discard(request)
  response.end()
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
