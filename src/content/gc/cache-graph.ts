import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import type { ManifestEdges } from './reachable.ts'
import type { Yield } from './yield.ts'

/** A manifest of a repository that has cached content. */
export interface CachedNode extends ManifestEdges {
  /** When it was last needed, in ms since the epoch; infinite for a pushed one. */
  lastNeeded: number
  /** With the children of an index, of which some may be blobs. */
  blobs: readonly Digest[]
  tags: Tag[]
}

/** The manifests of a repository, and the last access of its cached content. */
export interface CachedRepository {
  /** Manifests and blobs, in ms since the epoch; what is missing here was pushed. */
  lastAccess: ReadonlyMap<Digest, number>
  manifests: ReadonlyMap<Digest, CachedNode>
}

/**
 * Reads the graph of `name`. A manifest is needed when a client requests it, one of its children, or a blob that no
 * other manifest of the repository has: a layer that all images share says nothing about one of them. Undefined if a
 * pushed manifest cannot be read, so that all of the repository has to be kept.
 */
export async function readCached(content: Content, name: Name, yielder: Yield): Promise<CachedRepository | undefined> {
  const lastAccess = await readLastAccess(content, name, yielder)
  const manifests = new Map<Digest, CachedNode>()
  // One string for each blob, however many manifests have it.
  const blobUsers = new Map<Digest, { digest: Digest; users: number }>()
  for await (const digest of content.manifests.list(name)) {
    await yielder.step()
    const target = await content.manifests.linked(name, digest)
    const bytes = target && (await content.manifests.peek(target, { name, digest }))
    const parsed = bytes && readManifest(bytes)
    if (!parsed && !lastAccess.has(digest)) return undefined
    const blobs: Digest[] = []
    // A child of an index may be a blob.
    for (const blob of new Set([...(parsed?.blobs ?? []), ...(parsed?.manifests ?? [])].map(each => each.digest))) {
      const entry = blobUsers.get(blob) ?? { digest: blob, users: 0 }
      entry.users++
      blobUsers.set(blob, entry)
      blobs.push(entry.digest)
    }
    manifests.set(digest, {
      lastNeeded: lastAccess.get(digest) ?? Number.POSITIVE_INFINITY,
      blobs,
      manifests: parsed?.manifests.map(each => each.digest) ?? [],
      ...(parsed?.subject ? { subject: parsed.subject.digest } : {}),
      tags: []
    })
  }
  for (const node of manifests.values()) {
    for (const blob of node.blobs)
      if (blobUsers.get(blob)?.users === 1) node.lastNeeded = Math.max(node.lastNeeded, lastAccess.get(blob) ?? 0)
  }
  for await (const { tag, digest } of content.tags.all(name)) {
    const node = manifests.get(digest)
    node?.tags.push(tag)
    // A tag that was pushed later, for a manifest that had been cached.
    if (node && (await content.provenance.getTag(name, tag)) === undefined) node.lastNeeded = Number.POSITIVE_INFINITY
    await yielder.step()
  }
  for (const node of manifests.values()) node.lastNeeded = lastNeededBelow(node, manifests)
  return { lastAccess, manifests }
}

async function readLastAccess(content: Content, name: Name, yielder: Yield): Promise<Map<Digest, number>> {
  const found = new Map<Digest, number>()
  for await (const digest of content.provenance.list(name)) {
    const last = await content.lastAccess.of(name, digest)
    if (last !== undefined) found.set(digest, last)
    await yielder.step()
  }
  return found
}

// Of a manifest and all its descendants.
function lastNeededBelow(root: CachedNode, manifests: ReadonlyMap<Digest, CachedNode>): number {
  const seen = new Set<CachedNode>()
  const open = [root]
  let last = 0
  for (let node = open.pop(); node; node = open.pop()) {
    if (seen.has(node)) continue
    seen.add(node)
    // A pushed child keeps itself, and not the cached index that lists it.
    if (node === root || node.lastNeeded !== Number.POSITIVE_INFINITY) last = Math.max(last, node.lastNeeded)
    for (const digest of node.manifests) {
      const child = manifests.get(digest)
      if (child) open.push(child)
    }
  }
  return last
}
