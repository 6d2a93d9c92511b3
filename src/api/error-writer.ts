import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { type ErrorCode, OciError } from '../oci/errors.ts'
import { UploadOffsetError } from '../oci/sink.ts'
import { contentRangeOfUpload } from './headers.ts'
import { awaitingContinue, hasBody } from './receive.ts'

// What the system or the service says when the disk or the bucket fails, and what the client is told. No path: it is the operator's.
const mediumFaults: Record<string, { code: ErrorCode; reason: string; headers?: Record<string, string> }> = {
  ENOSPC: { code: 'INSUFFICIENT_STORAGE', reason: "no space is left on the registry's storage" },
  EDQUOT: { code: 'INSUFFICIENT_STORAGE', reason: "the quota of the registry's storage is used up" },
  EFBIG: { code: 'INSUFFICIENT_STORAGE', reason: "larger than the registry's storage takes" },
  EROFS: { code: 'UNKNOWN', reason: "the registry's disk is mounted read-only" },
  EIO: { code: 'UNKNOWN', reason: "the registry's storage reports an input/output error" },
  EMFILE: { code: 'UNAVAILABLE', reason: 'the registry has too many files open' },
  ENFILE: { code: 'UNAVAILABLE', reason: 'the node has too many files open' },
  ESTALLED: { code: 'UNAVAILABLE', reason: "the registry's storage does not answer", headers: { 'retry-after': '10' } }
}

/** What a client is told of any error. An error that is no client's matter becomes UNKNOWN, without its text. */
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
  const fault = typeof code === 'string' ? mediumFaults[code] : undefined
  // A limit of ours says which one it is, and by how much.
  if (fault)
    return new OciError(fault.code, {
      detail: shortage ?? { reason: fault.reason },
      cause: error,
      ...(fault.headers && { headers: fault.headers })
    })
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new OciError('UNSUPPORTED', { status: statusCode, detail: { reason: (error as Error).message }, cause: error })
  }
  return new OciError('UNKNOWN', { cause: error })
}

// Small leftovers are read so that the connection can be used again; beyond that it ends.
const smallBody = 256 * 1024
const linger = { bytes: 256 * 1024 * 1024, ms: 5_000 }

/**
 * The one error writer. If the client is still sending, the answer goes out at once and the connection ends after it; until then what comes is read and thrown away,
 * since closing with unread bytes resets the connection and the client would never see the answer.
 */
export async function writeError(request: IncomingMessage, response: ServerResponse, error: OciError): Promise<void> {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const body = Buffer.from(JSON.stringify(error))
  const unread = hasBody(request) && !request.readableEnded
  const waits = awaitingContinue.has(request)
  const small = !waits && Number(request.headers['content-length'] ?? Number.POSITIVE_INFINITY) <= smallBody
  if (unread && !small) response.setHeader('connection', 'close')
  response.writeHead(error.status, { 'content-type': 'application/json', 'content-length': body.length, ...error.headers })
  if (!unread || waits) return void response.end(request.method === 'HEAD' ? undefined : body)
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
      if (bytes > linger.bytes) resolve()
    })
    for (const event of ['end', 'close', 'error']) request.once(event, () => resolve())
    if (request.readableEnded || request.destroyed) resolve()
  })
  await Promise.race([ended, delay(linger.ms, undefined, { signal: stop.signal, ref: false }).catch(() => {})])
  stop.abort()
}
