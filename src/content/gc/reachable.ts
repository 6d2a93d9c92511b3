import type { Digest } from '../../oci/digest.ts'

/** A manifest, as far as others depend on it. */
export interface Node {
  manifests: readonly Digest[]
  subject?: Digest
}

/** Puts a manifest of the repository into `kept`, with what it leads to: the manifests of an index, and those that have it as their subject. */
export function createReachability(graph: ReadonlyMap<Digest, Node>, kept: Set<Digest>): (digest: Digest) => void {
  const referrers = new Map<Digest, Digest[]>()
  for (const [digest, { subject }] of graph) {
    if (!subject) continue
    const known = referrers.get(subject)
    if (known) known.push(digest)
    else referrers.set(subject, [digest])
  }
  return first => {
    const open = [first]
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
      const node = graph.get(digest)
      if (!node || kept.has(digest)) continue
      kept.add(digest)
      open.push(...node.manifests, ...(referrers.get(digest) ?? []))
    }
  }
}
