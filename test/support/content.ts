import type { Test } from 'tap'
import { type Content, type ContentOptions, openContent } from '../../src/content/content.ts'
import { mediaTypes } from '../../src/oci/descriptor.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { type Name, parseName, parseTag, type Tag } from '../../src/oci/name.ts'
import type { Chunk } from '../../src/oci/sink.ts'
import type { Storage } from '../../storage/storage.ts'
import { openStorage } from './storage.ts'

/** A signal that is never aborted. */
export const neverAborted = new AbortController().signal

/** A repository's name, spelled shortly. */
export const named = (text: string): Name => parseName(text)
/** A tag, spelled shortly. */
export const tagged = (text: string): Tag => parseTag(text)

/** Content over a new storage, and what it reported as damaged. */
export interface Opened {
  content: Content
  storage: Storage
  damages: { key: string; reason: string }[]
}

/** Content over `storage`, as after a restart; over a new one if none is given. */
export async function openFor(t: Test, storage?: Storage, options?: ContentOptions): Promise<Opened> {
  const below = storage ?? (await openStorage(t))
  const damages: Opened['damages'] = []
  return { content: openContent(below, (key, reason) => damages.push({ key, reason }), options), storage: below, damages }
}

/** A body of a client, in `pieces` chunks. */
export async function* bodyOf(bytes: string | Uint8Array, pieces = 1): AsyncIterable<Uint8Array> {
  const all = Buffer.from(bytes)
  const each = Math.ceil(all.length / pieces)
  for (let at = 0; at < all.length; at += each) yield all.subarray(at, at + each)
}

/** A body that is truncated after `bytes`. */
export async function* brokenAfter(bytes: string | Uint8Array): AsyncIterable<Uint8Array> {
  yield* bodyOf(bytes)
  throw new Error('aborted')
}

/** A chunk of an upload session, whose request is not aborted. */
export function chunkOf(body: AsyncIterable<Uint8Array>, expected: { offset?: number; length?: number } = {}): Chunk {
  return { body, ...expected, signal: neverAborted }
}

/** Pushes a blob in one chunk. */
export async function pushBlob(content: Content, name: Name, bytes: string | Uint8Array): Promise<Digest> {
  const digest = digestOf(Buffer.from(bytes))
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf(bytes)))
  await session.finish(digest)
  return digest
}

/** The whole of a blob as text; undefined if it is not there. */
export async function blobText(content: Content, name: Name, digest: Digest): Promise<string | undefined> {
  const blob = await content.blobs.open(name, digest)
  if (!blob) return undefined
  try {
    const bytes = Buffer.alloc(blob.size ?? 0)
    let at = 0
    for (let read = -1; read !== 0 && at < (blob.size ?? 0); at += read) read = await blob.body.readInto(bytes.subarray(at), at)
    return bytes.subarray(0, at).toString()
  } finally {
    await blob.body.close()
  }
}

/** A descriptor of `bytes`, with the fields of `more`. */
export function describe(bytes: string | Uint8Array, more: Record<string, unknown> = {}): { digest: Digest; size: number } {
  const all = Buffer.from(bytes)
  return { mediaType: mediaTypes.blob, digest: digestOf(all), size: all.length, ...more } as { digest: Digest; size: number }
}

/** An image manifest, serialized. `more` adds and replaces. */
export function imageOf(config: string, layers: readonly string[], more: Record<string, unknown> = {}): Buffer {
  return serialize({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: describe(config),
    layers: layers.map(each => describe(each)),
    ...more
  })
}

/** An image index over serialized manifests. */
export function indexOf(manifests: readonly Uint8Array[], more: Record<string, unknown> = {}): Buffer {
  return serialize({
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: manifests.map(each => describe(each, { mediaType: mediaTypes.ociManifest })),
    ...more
  })
}

/** Stores a manifest without a check of the blobs that it references. */
export async function storeManifest(
  content: Content,
  name: Name,
  bytes: Uint8Array,
  { subject, tags = [] }: { subject?: Digest; tags?: readonly Tag[] } = {}
): Promise<Digest> {
  const digest = digestOf(bytes)
  await content.commit.putManifest(name, digest, bytes, { ...(subject ? { subject } : {}), tags })
  return digest
}

const serialize = (document: unknown): Buffer => Buffer.from(JSON.stringify(document))
