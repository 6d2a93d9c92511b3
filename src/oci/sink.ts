import type { Descriptor } from './descriptor.ts'
import type { Algorithm, Digest } from './digest.ts'
import type { Name, Reference, Tag } from './name.ts'

/** The identity of an upload session: a UUID. Made only by `parseSessionId`. */
export type SessionId = string & { readonly [session]: true }
declare const session: unique symbol

const sessions = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** `text` as the identity of an upload session; undefined if it is none. */
export function parseSessionId(text: string): SessionId | undefined {
  return sessions.test(text) ? (text as SessionId) : undefined
}

/**
 * One body of an upload session. If the session is not at `offset`, it is refused with an UploadOffsetError; if the
 * body has not `length` bytes, with SIZE_INVALID, and the session stays as it was.
 */
export interface Chunk {
  body: AsyncIterable<Uint8Array>
  offset?: number
  length?: number
  signal: AbortSignal
}

/** The push of one blob (distribution-spec, "Pushing blobs"). `offset` is how many bytes have arrived. */
export interface UploadSession {
  readonly id: SessionId
  readonly offset: number
  /** How many bytes every chunk but the last needs at least; absent: any number. */
  readonly minChunkBytes?: number
  /**
   * Updates `offset` where another process may have gone on with the session. BLOB_UPLOAD_UNKNOWN if one has ended it.
   */
  refresh(signal?: AbortSignal): Promise<void>
  /**
   * Appends a chunk and resolves to the new offset. If its body is truncated, the bytes that arrived stay and the
   * session can be resumed.
   */
  append(chunk: Chunk): Promise<number>
  /**
   * Appends the last chunk, if there is one, verifies and publishes. DIGEST_INVALID if the bytes have another digest:
   * then the session ends and nothing is left of it. `signal` is for a call without a chunk, which has its own; a sink
   * that makes no request may ignore it.
   */
  finish(digest: Digest, last?: Chunk, signal?: AbortSignal): Promise<Descriptor>
  /** Ends the session and frees its bytes. */
  cancel(): Promise<void>
}

/** What was pushed and what it replaced, for the response and the audit log. */
export interface PutManifest {
  digest: Digest
  /** The manifest's subject, for `OCI-Subject`. */
  subject?: Digest
  /** Each tag that was set, with the digest that it named before. */
  tags: { tag: Tag; old?: Digest }[]
}

/** Anything that content can be pushed to. */
export interface Sink {
  startUpload(name: Name, algorithm?: Algorithm, signal?: AbortSignal): Promise<UploadSession>
  /** BLOB_UPLOAD_UNKNOWN if there is no such session in `name`. */
  resumeUpload(name: Name, id: SessionId): Promise<UploadSession>
  /**
   * Mounts a blob of `from`, or of any repository, in `name` (distribution-spec, "Mounting a blob from another
   * repository"). False if it is not there.
   */
  mountBlob(name: Name, digest: Digest, from?: Name, signal?: AbortSignal): Promise<boolean>
  putManifest(
    name: Name,
    reference: Reference,
    manifest: { mediaType?: string; bytes: Uint8Array },
    tags: readonly Tag[],
    signal?: AbortSignal
  ): Promise<PutManifest>
  deleteBlob(name: Name, digest: Digest, signal?: AbortSignal): Promise<void>
  /**
   * By digest: removes the manifest and every tag that names it. By tag: removes that tag only. Resolves to what was
   * removed.
   */
  deleteManifest(name: Name, reference: Reference, signal?: AbortSignal): Promise<{ digest: Digest; tags: Tag[] }>
}

/** The offset of a chunk is not that of the session (416). */
export class UploadOffsetError extends Error {
  readonly offset: number

  constructor(offset: number) {
    super(`the upload session is at offset ${offset}`)
    this.name = 'UploadOffsetError'
    this.offset = offset
  }
}
