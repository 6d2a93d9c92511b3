import type { Digest } from '../../oci/digest.ts'

/** A manifest of a repository, with its edges to others. */
export interface ManifestEdges {
  manifests: readonly Digest[]
  subject?: Digest
}

/**
 * Returns a function that adds a manifest of the repository to `reachable`, with all that it leads to: the manifests of
 * an index, and the referrers of a subject.
 */
export function createReachability(graph: ReadonlyMap<Digest, ManifestEdges>, reachable: Set<Digest>): (root: Digest) => void {
  const referrers = new Map<Digest, Digest[]>()
  for (const [digest, { subject }] of graph) {
    if (!subject) continue
    const known = referrers.get(subject)
    if (known) known.push(digest)
    else referrers.set(subject, [digest])
  }
  return root => {
    const open = [root]
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
      const node = graph.get(digest)
      if (!node || reachable.has(digest)) continue
      reachable.add(digest)
      open.push(...node.manifests, ...(referrers.get(digest) ?? []))
    }
  }
}
