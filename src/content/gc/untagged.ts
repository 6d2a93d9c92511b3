import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name } from '../../oci/name.ts'
import * as keys from '../keys.ts'
import { markConcurrentPushes } from './concurrent-pushes.ts'
import { createReachability, type Node } from './reachable.ts'
import type { ManifestRemoval } from './removals.ts'
import type { GcRun, Removal } from './run.ts'

// Withdrawn under one lock of the repository.
const together = 100

/**
 * Removes the pushed manifests of `name` that are older than `run.untagged` and that nothing leads to: no tag, no index that stays, no subject that stays. Fills `gone`
 * with what went, or in a dry run would go.
 */
export async function* removeUntagged(run: GcRun, name: Name, gone: Set<Digest>): AsyncGenerator<Removal> {
  const { content, mode, held } = run
  const leaving = await findLeaving(run, name)
  const leave = new Set<Digest>()
  for (let at = 0; at < leaving.length; at += together) {
    const batch = leaving.slice(at, at + together)
    await markConcurrentPushes(run)
    const parents = new Map(batch.map(each => [each.digest, each.parents]))
    // Whoever came to need one since the run began, by a tag or in an index, has held it; what that one leads to comes after it.
    const may = async (digest: Digest) => {
      const needed = held.has(digest) || parents.get(digest)?.some(each => !leave.has(each))
      if (needed || !(await isOld(run, name, digest))) return false
      leave.add(digest)
      return true
    }
    const went = mode === 'tell' ? batch.map(each => each.digest) : await content.removals.removeManifests(name, batch, may)
    for (const digest of went) {
      gone.add(digest)
      yield { type: 'remove', kind: 'manifest', name, digest, reason: 'untagged' }
    }
    await run.yielder.step()
  }
}

/** A manifest that is to go, and those that lead to it. */
interface Candidate extends ManifestRemoval {
  parents: readonly Digest[]
}

// Each after all that lead to it.
async function findLeaving(run: GcRun, name: Name): Promise<Candidate[]> {
  const { content, yielder: pace } = run
  const graph = new Map<Digest, Node>()
  for await (const digest of content.manifests.list(name)) {
    const target = await content.manifests.linked(name, digest)
    const bytes = target && (await content.manifests.peek(target, { name, digest }))
    const parsed = bytes && readManifest(bytes)
    // It may be the index that leads to the others.
    if (!parsed) return []
    const manifests = parsed.manifests.map(each => each.digest)
    graph.set(digest, { manifests, ...(parsed.subject ? { subject: parsed.subject.digest } : {}) })
    await pace.step()
  }
  const kept = new Set<Digest>()
  const keep = createReachability(graph, kept)
  for await (const { digest } of content.tags.all(name)) keep(digest)
  for (const digest of graph.keys()) {
    if (!kept.has(digest) && !(await isOld(run, name, digest))) keep(digest)
    await pace.step()
  }
  for (const digest of kept) graph.delete(digest)
  return inOrder(graph)
}

function inOrder(graph: ReadonlyMap<Digest, Node>): Candidate[] {
  const parents = new Map<Digest, Digest[]>([...graph.keys()].map(digest => [digest, []]))
  const children = new Map<Digest, Digest[]>([...graph.keys()].map(digest => [digest, []]))
  const lead = (from: Digest, to: Digest) => {
    if (!graph.has(from)) return
    parents.get(to)?.push(from)
    if (graph.has(to)) children.get(from)?.push(to)
  }
  for (const [digest, { manifests, subject }] of graph) {
    for (const each of new Set(manifests)) lead(digest, each)
    if (subject) lead(subject, digest)
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

// What was cached is the cache's to remove.
async function isOld({ storage, content, now, untagged = 0, grace }: GcRun, name: Name, digest: Digest): Promise<boolean> {
  if ((await content.provenance.get(name, digest)) !== undefined) return false
  const stats = await Promise.all([keys.revision(name, digest), keys.blob(digest)].map(key => storage.stat(key)))
  const last = Math.max(content.holds.renewedAt(digest), ...stats.map(each => each?.modified ?? 0))
  return now() - last >= Math.max(untagged, grace)
}
