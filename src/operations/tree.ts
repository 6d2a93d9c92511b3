import type { Key, Storage } from '../../storage/storage.ts'
import type { Content } from '../content/content.ts'
import * as keys from '../content/keys.ts'
import { listDigests } from '../content/walk.ts'
import { algorithmOf, type Digest, isDigest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'

/** The content of a storage, as operations walk it. */
export interface Tree {
  content: Content
  storage: Storage
  /** After how many ms without a write an upload session expires. */
  uploadIdleMs: number
  now: () => number
}

/** A link as it is stored. `target` is the digest in it; absent if the link is damaged. */
export interface FoundLink {
  key: Key
  digest: Digest
  target?: Digest
}

// Within one algorithm a link holds its own digest. Distribution stores what was pushed by sha512 under its sha256.
function isTarget(digest: Digest, text: string): text is Digest {
  return isDigest(text) && (text === digest || algorithmOf(text) !== algorithmOf(digest))
}

/** Reads the digest in a link past the link cache, which a walk over all links would fill with cold entries. */
export async function readLink(storage: Storage, key: Key): Promise<string | undefined> {
  const bytes = await storage.get(key).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EFBIG') return Buffer.alloc(0)
    throw error
  })
  return bytes?.toString('latin1').trim()
}

/** The links `<algorithm>/<encoded>/link` below `prefix`, ordered. */
export async function* linksBelow(storage: Storage, prefix: Key): AsyncGenerator<FoundLink, void> {
  for await (const digest of listDigests(storage, prefix)) {
    const key = keys.link(prefix, digest)
    const text = await readLink(storage, key)
    // A prefix without a link is debris of a crash during a removal.
    if (text !== undefined) yield { key, digest, ...(isTarget(digest, text) ? { target: text } : {}) }
  }
}

/** The links by which `name` may read bytes: its blobs, then its manifests. */
export async function* linksOf(storage: Storage, name: Name): AsyncGenerator<FoundLink & { kind: 'blob' | 'manifest' }, void> {
  for await (const link of linksBelow(storage, keys.layers(name))) yield { ...link, kind: 'blob' }
  for await (const link of linksBelow(storage, keys.revisions(name))) yield { ...link, kind: 'manifest' }
}

/** Bytes of all blobs together. */
export async function storedBytes(storage: Storage, signal: AbortSignal): Promise<number> {
  let sum = 0
  for await (const { key, size } of storage.list(keys.blobs)) {
    signal.throwIfAborted()
    if (keys.digestOfBlob(key)) sum += size
  }
  return sum
}

/** The repositories that have a link to a digest, and what the digest is to them. */
export interface Owners {
  kind: 'blob' | 'manifest'
  /** The first 10. */
  names: Name[]
}

const maxOwners = 10

/** Finds the repositories that have a link to `digest` by looking into all of them, which is for rare cases. */
export async function ownersOf({ names, blobs, manifests }: Content, digest: Digest, signal: AbortSignal): Promise<Owners> {
  const found: Owners = { kind: 'blob', names: [] }
  for await (const name of names.all()) {
    signal.throwIfAborted()
    const manifest = (await manifests.linked(name, digest)) !== undefined
    if (manifest) found.kind = 'manifest'
    if (manifest || (await blobs.linked(name, digest)) !== undefined) found.names.push(name)
    if (found.names.length === maxOwners) break
  }
  return found
}
