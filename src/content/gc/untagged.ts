import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { markConcurrentPushes } from './concurrent-pushes.ts'
import { createReachability, type ManifestEdges } from './reachable.ts'
import type { ManifestRemoval } from './removals.ts'
import type { GcRun, Removal } from './run.ts'

// Manifests that are removed under one mutex of the repository.
const batchSize = 100

/**
 * Removes the pushed manifests of `name` that are older than `run.untagged` and to which nothing leads: no tag, no
 * index that is kept, no subject that is kept. Fills `removed` with the digests that were removed, or in a dry run
 * would be.
 */
export async function* removeUntagged(run: GcRun, name: Name, removed: Set<Digest>): AsyncGenerator<Removal> {
  const { content, mode, held, yielder } = run
  const candidates = await findCandidates(run, name)
  const removable = new Set<Digest>()
  for (let at = 0; at < candidates.length; at += batchSize) {
    const batch = candidates.slice(at, at + batchSize)
    await markConcurrentPushes(run)
    const parents = new Map(batch.map(each => [each.digest, each.parents]))
    // A tag or an index that has come to need a manifest since the run began has held it. Its descendants come after
    // it.
    const canRemove = async (digest: Digest) => {
      const needed = held.has(digest) || parents.get(digest)?.some(each => !removable.has(each))
      if (needed || !(await isOld(run, name, digest))) return false
      removable.add(digest)
      return true
    }
    const done = mode === 'report' ? batch.map(each => each.digest) : await content.removals.removeManifests(name, batch, canRemove)
    for (const digest of done) {
      removed.add(digest)
      yield { type: 'remove', kind: 'manifest', name, digest, reason: 'untagged' }
    }
    await yielder.step()
  }
}

/** A manifest to be removed, and the manifests that lead to it. */
interface Candidate extends ManifestRemoval {
  parents: readonly Digest[]
}

// Parents before children.
async function findCandidates(run: GcRun, name: Name): Promise<Candidate[]> {
  const { content, yielder } = run
  const graph = new Map<Digest, ManifestEdges>()
  for await (const digest of content.manifests.list(name)) {
    const target = await content.manifests.linked(name, digest)
    const bytes = target && (await content.manifests.peek(target, { name, digest }))
    const parsed = bytes && readManifest(bytes)
    // It may be the index that leads to the others.
    if (!parsed) return []
    const manifests = parsed.manifests.map(each => each.digest)
    graph.set(digest, { manifests, ...(parsed.subject ? { subject: parsed.subject.digest } : {}) })
    await yielder.step()
  }
  const reachable = new Set<Digest>()
  const reach = createReachability(graph, reachable)
  for await (const { digest } of content.tags.all(name)) reach(digest)
  for (const digest of graph.keys()) {
    if (!reachable.has(digest) && !(await isOld(run, name, digest))) reach(digest)
    await yielder.step()
  }
  for (const digest of reachable) graph.delete(digest)
  return parentsFirst(graph)
}

function parentsFirst(graph: ReadonlyMap<Digest, ManifestEdges>): Candidate[] {
  const parents = new Map<Digest, Digest[]>([...graph.keys()].map(digest => [digest, []]))
  const children = new Map<Digest, Digest[]>([...graph.keys()].map(digest => [digest, []]))
  const addEdge = (from: Digest, to: Digest) => {
    if (!graph.has(from)) return
    parents.get(to)?.push(from)
    if (graph.has(to)) children.get(from)?.push(to)
  }
  for (const [digest, { manifests, subject }] of graph) {
    for (const each of new Set(manifests)) addEdge(digest, each)
    if (subject) addEdge(subject, digest)
  }
  const left = new Map([...parents].map(([digest, all]) => [digest, all.length]))
  const order = [...graph.keys()].filter(digest => left.get(digest) === 0)
  for (const digest of order) {
    for (const child of children.get(digest) ?? []) {
      const count = (left.get(child) ?? 0) - 1
      left.set(child, count)
      if (count === 0) order.push(child)
    }
  }
  return order.map(digest => {
    const subject = graph.get(digest)?.subject
    return { digest, tags: [], parents: parents.get(digest) ?? [], ...(subject ? { subject } : {}) }
  })
}

// Cached manifests are left to eviction.
async function isOld({ storage, content, now, untagged = 0, grace }: GcRun, name: Name, digest: Digest): Promise<boolean> {
  if ((await content.provenance.get(name, digest)) !== undefined) return false
  const stats = await Promise.all([keys.revision(name, digest), keys.blob(digest)].map(key => storage.stat(key)))
  const last = Math.max(content.holds.renewedAt(digest), ...stats.map(each => each?.modified ?? 0))
  return now() - last >= Math.max(untagged, grace)
}
