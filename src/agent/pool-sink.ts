import { LRUCache } from 'lru-cache'
import { ociErrorOf, unknownManifest } from '../backend/errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Algorithm, Digest } from '../oci/digest.ts'
import { isErrorCode, OciError } from '../oci/errors.ts'
import type { Name, Reference, Tag } from '../oci/name.ts'
import type { Chunk, PutManifest, SessionId, Sink, UploadSession } from '../oci/sink.ts'
import { UpstreamError } from '../upstream/upstream.ts'
import { unavailable } from './pools-backend.ts'

const maxSessions = 1_000

/**
 * The upload sessions that clients have begun here, of those the last 1,000. Each stays with the replica where it
 * began, whatever happens to the pools meanwhile.
 */
export type PinnedSessions = LRUCache<SessionId, { name: Name; session: UploadSession }>

/** No session yet. */
export const pinnedSessions = (): PinnedSessions => new LRUCache({ max: maxSessions })

/** Passes pushes and deletions to a pool, and translates its errors. */
export class PoolSink implements Sink {
  readonly #sink: Sink
  readonly #sessions: PinnedSessions

  constructor(sink: Sink, sessions: PinnedSessions) {
    this.#sink = sink
    this.#sessions = sessions
  }

  async startUpload(name: Name, algorithm?: Algorithm, signal?: AbortSignal): Promise<UploadSession> {
    const begun = await pass(unknownUpload, () => this.#sink.startUpload(name, algorithm, signal))
    const session = new PinnedUpload(begun, () => this.#sessions.delete(begun.id))
    this.#sessions.set(session.id, { name, session })
    return session
  }

  async resumeUpload(name: Name, id: SessionId): Promise<UploadSession> {
    const pinned = this.#sessions.get(id)
    if (pinned?.name !== name) throw unknownUpload()
    await pinned.session.refresh()
    return pinned.session
  }

  mountBlob(name: Name, digest: Digest, from?: Name, signal?: AbortSignal): Promise<boolean> {
    return pass(unknownUpload, () => this.#sink.mountBlob(name, digest, from, signal))
  }

  putManifest(
    name: Name,
    reference: Reference,
    manifest: { mediaType?: string; bytes: Uint8Array },
    tags: readonly Tag[],
    signal?: AbortSignal
  ): Promise<PutManifest> {
    return pass(
      () => unknownManifest(name, reference),
      () => this.#sink.putManifest(name, reference, manifest, tags, signal)
    )
  }

  deleteBlob(name: Name, digest: Digest, signal?: AbortSignal): Promise<void> {
    return pass(
      () => new OciError('BLOB_UNKNOWN', { detail: { name, digest } }),
      () => this.#sink.deleteBlob(name, digest, signal)
    )
  }

  deleteManifest(name: Name, reference: Reference, signal?: AbortSignal): Promise<{ digest: Digest; tags: Tag[] }> {
    return pass(
      () => unknownManifest(name, reference),
      () => this.#sink.deleteManifest(name, reference, signal)
    )
  }
}

class PinnedUpload implements UploadSession {
  readonly id: SessionId
  readonly #session: UploadSession
  readonly #onEnd: () => void

  constructor(session: UploadSession, onEnd: () => void) {
    this.id = session.id
    this.#session = session
    this.#onEnd = onEnd
  }

  get offset(): number {
    return this.#session.offset
  }

  refresh(signal?: AbortSignal): Promise<void> {
    return pass(unknownUpload, () => this.#session.refresh(signal))
  }

  append(chunk: Chunk): Promise<number> {
    return pass(unknownUpload, () => this.#session.append(chunk))
  }

  async finish(digest: Digest, last?: Chunk, signal?: AbortSignal): Promise<Descriptor> {
    const stored = await pass(unknownUpload, () => this.#session.finish(digest, last, signal))
    this.#onEnd()
    return stored
  }

  async cancel(): Promise<void> {
    this.#onEnd()
    await pass(unknownUpload, () => this.#session.cancel())
  }
}

function unknownUpload(): OciError {
  return new OciError('BLOB_UPLOAD_UNKNOWN')
}

async function pass<T>(unknown: () => OciError, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (error) {
    throw errorOfPush(error, unknown)
  }
}

// What a replica says of a push is meant for its client, except that it does not take the password of the agent.
function errorOfPush(error: unknown, unknown: () => OciError): unknown {
  if (!(error instanceof UpstreamError)) return error
  const { status = 0, code = '', message } = error
  if (status >= 400 && status !== 401 && status !== 404 && error.kind !== 'limited' && isErrorCode(code)) {
    return new OciError(code, { status, detail: { reason: message }, cause: error })
  }
  // Of a 404 the code says what is unknown: the blob of a manifest, for example.
  if (status === 404 && isErrorCode(code)) return new OciError(code, { cause: error })
  const known = ociErrorOf(error, unknown)
  return known instanceof OciError && known.code !== 'DENIED' && known.status >= 429 ? unavailable(known) : known
}
