import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Name } from '../oci/name.ts'
import type { CollectRun, Removal } from './collect-run.ts'
import { createKeep, type Node } from './keep.ts'
import * as keys from './keys.ts'
import { markLate } from './late.ts'
import type { Leaving } from './withdraw.ts'

// Withdrawn under one lock of the repository.
const together = 100

/**
 * Removes the pushed manifests of `name` that are older than `run.untagged` and that nothing leads to: no tag, no index that stays, no subject that stays. Fills `gone`
 * with what went, or in a dry run would go.
 */
export async function* removeUntagged(run: CollectRun, name: Name, gone: Set<Digest>): AsyncGenerator<Removal> {
  const { content, mode, held } = run
  const leaving = await findLeaving(run, name)
  for (let at = 0; at < leaving.length; at += together) {
    const batch = leaving.slice(at, at + together)
    await markLate(run)
    // Whoever came to need one since the run began, by a tag or in an index, has held it.
    const may = async (digest: Digest) => !held.has(digest) && (await isOld(run, name, digest))
    const went = mode === 'tell' ? batch.map(each => each.digest) : await content.withdraw.manifests(name, batch, may)
    for (const digest of went) {
      gone.add(digest)
      yield { type: 'remove', kind: 'manifest', name, digest, reason: 'untagged' }
    }
    await run.pace.step()
  }
}

async function findLeaving(run: CollectRun, name: Name): Promise<Leaving[]> {
  const { content, pace } = run
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
  const keep = createKeep(graph, kept)
  for await (const { digest } of content.tags.all(name)) keep(digest)
  for (const digest of graph.keys()) {
    if (!kept.has(digest) && !(await isOld(run, name, digest))) keep(digest)
    await pace.step()
  }
  return [...graph]
    .filter(([digest]) => !kept.has(digest))
    .map(([digest, { subject }]) => ({ digest, tags: [], ...(subject ? { subject } : {}) }))
}

// What was cached is the cache's to remove.
async function isOld({ storage, content, now, untagged = 0, grace }: CollectRun, name: Name, digest: Digest): Promise<boolean> {
  if ((await content.origins.of(name, digest)) !== undefined) return false
  const stats = await Promise.all([keys.revision(name, digest), keys.blob(digest)].map(key => storage.stat(key)))
  const last = Math.max(content.holds.renewedAt(digest), ...stats.map(each => each?.modified ?? 0))
  return now() - last >= Math.max(untagged, grace)
}
