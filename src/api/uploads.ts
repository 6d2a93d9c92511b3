import { type Algorithm, canonical, type Digest, isAlgorithm, parseDigest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { isName, type Name } from '../oci/name.ts'
import { parseChunkRange } from '../oci/range.ts'
import type { Chunk, SessionId, UploadSession } from '../oci/sink.ts'
import { type Exchange, requireCapacity, respondEmpty, sinkOf } from './exchange.ts'
import { contentRangeOfUpload } from './headers.ts'
import { receiveBody } from './receive.ts'
import { hasBody } from './unread-body.ts'

/** end-4a, end-4b, end-4c and end-11: starts a session, receives a whole blob, or mounts one. */
export async function startUpload(exchange: Exchange, name: Name): Promise<void> {
  const { query } = exchange
  const mount = query.get('mount')
  if (mount !== null) {
    const digest = parseDigest(mount)
    if (await mounted(exchange, name, digest)) return blobCreated(exchange, name, digest)
  }
  const digest = mount === null ? optional(query.get('digest'), parseDigest) : undefined
  const sink = sinkOf(exchange)
  // A body follows in the next request.
  if (digest === undefined) await requireCapacity(exchange)
  const session = await sink.startUpload(name, algorithm(exchange, digest))
  exchange.record.session = session.id
  if (digest === undefined) return uploadAccepted(exchange, name, session)
  // The client does not know the location of this session, so it could not resume it.
  const last = await nextChunk(exchange, session)
  await finish(exchange, name, session, digest, last).catch(error => cancelAfter(session, error))
}

async function cancelAfter(session: UploadSession, error: unknown): Promise<never> {
  // It may have ended already; the client needs the first error.
  await session.cancel().catch(() => {})
  throw error
}

async function mounted(exchange: Exchange, name: Name, digest: Digest): Promise<boolean> {
  const { backend, caller, query } = exchange
  const from = query.get('from') || undefined
  if (from !== undefined && !isName(from)) return false
  // A mount also reads the blob, from one repository or from any. Without that right it is an ordinary push
  // (distribution-spec, "Mounting a blob from another repository": 202 if it cannot be mounted).
  const readable = from === undefined ? caller.mayPullAll(backend.namespace) : caller.mayPull(from, backend.namespace)
  return readable && sinkOf(exchange).mountBlob(name, digest, from)
}

function algorithm({ query }: Exchange, digest: Digest | undefined): Algorithm {
  const text = query.get('digest-algorithm') ?? digest?.split(':', 1)[0] ?? canonical
  if (isAlgorithm(text)) return text
  throw new OciError('DIGEST_INVALID', {
    detail: { reason: 'digest-algorithm is neither sha256 nor sha512', algorithm: text.slice(0, 160) }
  })
}

/** end-13: the offset of a session. */
export async function getUpload(exchange: Exchange, name: Name, id: SessionId): Promise<void> {
  const session = await sessionOf(exchange, name, id)
  await session.refresh()
  respondEmpty(exchange, 204, sessionHeaders(name, session))
}

/** end-5: a chunk, in order, or a stream. */
export async function patchUpload(exchange: Exchange, name: Name, id: SessionId): Promise<void> {
  const session = await sessionOf(exchange, name, id)
  const chunk = await nextChunk(exchange, session)
  if (chunk) await session.append(chunk)
  uploadAccepted(exchange, name, session)
}

/** end-6: the last chunk, if any, and the digest of the whole. */
export async function putUpload(exchange: Exchange, name: Name, id: SessionId): Promise<void> {
  const text = exchange.query.get('digest')
  if (text === null) throw new OciError('DIGEST_INVALID', { detail: { reason: 'the query has no digest' } })
  const digest = parseDigest(text)
  const session = await sessionOf(exchange, name, id)
  await finish(exchange, name, session, digest, await nextChunk(exchange, session))
}

/** end-14. */
export async function deleteUpload(exchange: Exchange, name: Name, id: SessionId): Promise<void> {
  await (await sessionOf(exchange, name, id)).cancel()
  respondEmpty(exchange, 204)
}

// A push that was started before a switch of modes goes on with its session in any mode.
async function sessionOf(exchange: Exchange, name: Name, id: SessionId): Promise<UploadSession> {
  const { backend, sessions } = exchange
  if (backend.sink) return backend.sink.resumeUpload(name, id)
  const session = await sessions.resumeUpload(name, id).catch(() => undefined)
  return session ?? sinkOf(exchange).resumeUpload(name, id)
}

async function nextChunk(exchange: Exchange, session: UploadSession): Promise<Chunk | undefined> {
  const { request, response, record, transfers, signal } = exchange
  const expected = expectedRange(request.headers)
  if (!hasBody(request) && expected.offset === undefined) return undefined
  await requireCapacity(exchange).catch(error => cancelAfter(session, error))
  const body = receiveBody(request, response, transfers.stalls, bytes => {
    record.received += bytes
  })
  return { body, ...expected, signal }
}

function expectedRange(headers: Exchange['request']['headers']): { offset?: number; length?: number } {
  const field = headers['content-range']
  if (field === undefined) return {}
  const range = parseChunkRange(field)
  if (!range)
    throw new OciError('BLOB_UPLOAD_INVALID', {
      detail: { reason: 'Content-Range is not <start>-<end>', contentRange: field.slice(0, 160) }
    })
  const length = headers['content-length']
  if (length !== undefined && Number(length) !== range.length) {
    throw new OciError('SIZE_INVALID', {
      detail: { reason: 'Content-Range and Content-Length differ', contentRange: field, contentLength: length }
    })
  }
  return range
}

async function finish(exchange: Exchange, name: Name, session: UploadSession, digest: Digest, last?: Chunk): Promise<void> {
  await session.finish(digest, last)
  await blobCreated(exchange, name, digest)
}

async function blobCreated(exchange: Exchange, name: Name, digest: Digest): Promise<void> {
  exchange.record.digest = digest
  await exchange.audit({ action: 'push', name, new: digest })
  respondEmpty(exchange, 201, { location: `/v2/${name}/blobs/${digest}`, 'docker-content-digest': digest })
}

function uploadAccepted(exchange: Exchange, name: Name, session: UploadSession): void {
  respondEmpty(exchange, 202, sessionHeaders(name, session))
}

function sessionHeaders(name: Name, { id, offset }: UploadSession): Record<string, string> {
  return {
    location: `/v2/${name}/blobs/uploads/${id}`,
    range: contentRangeOfUpload(offset),
    // `Range` cannot tell an empty session from one of a single byte; this field of the IETF's resumable uploads can.
    'upload-offset': String(offset),
    'docker-upload-uuid': id
  }
}

function optional<T>(text: string | null, parse: (text: string) => T): T | undefined {
  return text === null ? undefined : parse(text)
}
