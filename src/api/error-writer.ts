import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ErrorCode, OciError } from '../oci/errors.ts'
import { UploadOffsetError } from '../oci/sink.ts'
import { contentRangeOfUpload } from './headers.ts'
import { endsConnection, endWhileSending, isSending } from './unread-body.ts'

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

/** The one error writer. While the client is still sending, the response is written at once. */
export async function writeError(request: IncomingMessage, response: ServerResponse, error: OciError): Promise<void> {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const body = request.method === 'HEAD' ? undefined : Buffer.from(JSON.stringify(error))
  if (endsConnection(request)) response.setHeader('connection', 'close')
  const length = body?.length ?? Buffer.byteLength(JSON.stringify(error))
  response.writeHead(error.status, { 'content-type': 'application/json', 'content-length': length, ...error.headers })
  if (!isSending(request)) return void response.end(body)
  await endWhileSending(request, response, body)
}
