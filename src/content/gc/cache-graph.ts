import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import type { Node } from './reachable.ts'
import type { Yield } from './yield.ts'

/** A manifest of a repository into which something was cached. */
export interface CachedNode extends Node {
  /** When it was last needed, in ms since the epoch; infinite for one that was pushed. */
  last: number
  blobs: readonly Digest[]
  tags: Tag[]
}

/** What a repository holds, and when what was cached of it was last asked for. */
export interface CachedRepository {
  /** By digest, manifests and blobs; what is not in it was pushed. */
  marks: ReadonlyMap<Digest, number>
  manifests: ReadonlyMap<Digest, CachedNode>
}

/**
 * Reads `name` through. A manifest is needed when it is asked for, one of its children, or a blob that no other manifest of the repository has: a layer that all images
 * share says nothing about one of them. Undefined if a pushed manifest does not tell what it needs, so that all of it has to stay.
 */
export async function readCached(content: Content, name: Name, pace: Yield): Promise<CachedRepository | undefined> {
  const marks = new Map<Digest, number>()
  for await (const digest of content.provenance.list(name)) {
    const last = await content.lastAccess.of(name, digest)
    if (last !== undefined) marks.set(digest, last)
    await pace.step()
  }
  const manifests = new Map<Digest, CachedNode>()
  // One string for each blob, however many manifests have it.
  const known = new Map<Digest, { digest: Digest; users: number }>()
  for await (const digest of content.manifests.list(name)) {
    await pace.step()
    const target = await content.manifests.linked(name, digest)
    const bytes = target && (await content.manifests.peek(target, { name, digest }))
    const parsed = bytes && readManifest(bytes)
    if (!parsed && !marks.has(digest)) return undefined
    const blobs = new Set(parsed?.blobs.map(each => each.digest))
    const own: Digest[] = []
    for (const blob of blobs) {
      const entry = known.get(blob) ?? { digest: blob, users: 0 }
      entry.users++
      known.set(blob, entry)
      own.push(entry.digest)
    }
    manifests.set(digest, {
      last: marks.get(digest) ?? Number.POSITIVE_INFINITY,
      blobs: own,
      manifests: parsed?.manifests.map(each => each.digest) ?? [],
      ...(parsed?.subject ? { subject: parsed.subject.digest } : {}),
      tags: []
    })
  }
  for (const node of manifests.values()) {
    for (const blob of node.blobs) if (known.get(blob)?.users === 1) node.last = Math.max(node.last, marks.get(blob) ?? 0)
  }
  for await (const { tag, digest } of content.tags.all(name)) {
    const node = manifests.get(digest)
    node?.tags.push(tag)
    // Pushed later, to a manifest that had been cached.
    if (node && (await content.provenance.getTag(name, tag)) === undefined) node.last = Number.POSITIVE_INFINITY
    await pace.step()
  }
  for (const node of manifests.values()) node.last = lastOfAll(node, manifests)
  return { marks, manifests }
}

function lastOfAll(first: CachedNode, manifests: ReadonlyMap<Digest, CachedNode>): number {
  const seen = new Set<CachedNode>()
  const open = [first]
  let last = 0
  for (let node = open.pop(); node; node = open.pop()) {
    if (seen.has(node)) continue
    seen.add(node)
    // What was pushed as a child keeps itself and not the cached index around it.
    if (node === first || node.last !== Number.POSITIVE_INFINITY) last = Math.max(last, node.last)
    for (const digest of node.manifests) open.push(...(manifests.get(digest) ? [manifests.get(digest) as CachedNode] : []))
  }
  return last
}
