import type { Descriptor } from './descriptor.ts'
import type { Algorithm, Digest } from './digest.ts'
import type { Name, Reference, Tag } from './name.ts'

/** An upload session's identity: a UUID. Made only by `parseSessionId`. */
export type SessionId = string & { readonly [session]: true }
declare const session: unique symbol

const sessions = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** `text` as a session's identity; undefined otherwise. */
export function parseSessionId(text: string): SessionId | undefined {
  return sessions.test(text) ? (text as SessionId) : undefined
}

/** A body for an upload session: one that does not begin at `offset` is an UploadOffsetError, one that is not `length` long is SIZE_INVALID and leaves the session as it was. */
export interface Chunk {
  body: AsyncIterable<Uint8Array>
  offset?: number
  length?: number
  signal: AbortSignal
}

/** One blob on its way in (distribution-spec, "Pushing blobs"). `offset` is how many bytes have arrived. */
export interface UploadSession {
  readonly id: SessionId
  readonly offset: number
  /** Bytes that every chunk but the last needs at least; absent: any number. */
  readonly minChunkBytes?: number
  /** Brings `offset` up to date where another process may have gone on; BLOB_UPLOAD_UNKNOWN if one has ended the session. */
  refresh(signal?: AbortSignal): Promise<void>
  /** Appends a chunk and resolves to the new offset. If its body is truncated, the bytes that arrived stay and the session can be resumed. */
  append(chunk: Chunk): Promise<number>
  /** Appends the last body, if there is one, verifies and publishes. Another digest than the bytes' is DIGEST_INVALID, and nothing is left behind. */
  finish(digest: Digest, last?: Chunk): Promise<Descriptor>
  /** Ends the session and frees its bytes. */
  cancel(): Promise<void>
}

/** What was pushed and what it replaced, for the answer and for the audit log. */
export interface PutManifest {
  digest: Digest
  /** The manifest's subject, for `OCI-Subject`. */
  subject?: Digest
  /** Each tag that was set, with the digest that it had before. */
  tags: { tag: Tag; old?: Digest }[]
}

/** Anything that content can be pushed to. */
export interface Sink {
  startUpload(name: Name, algorithm?: Algorithm, signal?: AbortSignal): Promise<UploadSession>
  /** BLOB_UPLOAD_UNKNOWN if there is no such session in `name`. */
  resumeUpload(name: Name, id: SessionId): Promise<UploadSession>
  /** Makes a blob of another repository readable in `name`; false if it is not there (distribution-spec, "Mounting a blob from another repository"). */
  mountBlob(name: Name, digest: Digest, from?: Name, signal?: AbortSignal): Promise<boolean>
  putManifest(
    name: Name,
    reference: Reference,
    manifest: { mediaType?: string; bytes: Uint8Array },
    tags: readonly Tag[],
    signal?: AbortSignal
  ): Promise<PutManifest>
  deleteBlob(name: Name, digest: Digest, signal?: AbortSignal): Promise<void>
  /** By digest: the manifest and every tag that points at it. By tag: that tag only. Resolves to what went. */
  deleteManifest(name: Name, reference: Reference, signal?: AbortSignal): Promise<{ digest: Digest; tags: Tag[] }>
}

/** The offset that a client names is not where the session stands (416). */
export class UploadOffsetError extends Error {
  readonly offset: number

  constructor(offset: number) {
    super(`the upload session stands at offset ${offset}`)
    this.name = 'UploadOffsetError'
    this.offset = offset
  }
}
