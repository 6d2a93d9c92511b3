import type { Storage } from '../../../storage/storage.ts'
import { algorithmOf, canonical, type Digest } from '../../oci/digest.ts'
import type { Name, Tag } from '../../oci/name.ts'
import type { Content } from '../content.ts'
import { DigestSet } from '../digest-table.ts'
import * as keys from '../keys.ts'
import { listDigests } from '../walk.ts'
import { type CachedRepository, readCached } from './cache-graph.ts'
import { createReachability } from './reachable.ts'
import { filterRemovable, type ManifestRemoval } from './removals.ts'
import type { Removal, RemovalReason } from './run.ts'
import type { Yield } from './yield.ts'

/** What an eviction goes by; times in ms. */
export interface EvictPolicy {
  reason: Extract<RemovalReason, 'expired' | 'room'>
  /** What was cached under `name` and last asked for before this time goes; undefined: none of it. */
  before(name: Name): number | undefined
  /** Whether content of `name` stays whatever its age: all of it, what a tag names, or what has a digest. */
  pinned(name: Name, reference?: { tag: Tag } | { digest: Digest }): boolean
  /** Somebody who was told of content within this time may be about to rely on it. */
  grace: number
}

interface EvictRun extends EvictPolicy {
  storage: Storage
  content: Content
  pace: Yield
  now: () => number
  mode: 'remove' | 'tell'
  /** What somebody held since the run began. */
  held: DigestSet
}

const together = 64

/**
 * Removes what was cached and not asked for: manifests with their tags, then blobs that no other manifest needs. What has no mark of origin was pushed and is not even
 * looked at. A dry run tells what would go and changes nothing. Rejects on an error of the medium.
 */
export async function* evict(
  storage: Storage,
  content: Content,
  policy: EvictPolicy,
  { pace, now = () => content.coordination.now(), dryRun }: { pace: Yield; now?: () => number; dryRun?: true }
): AsyncGenerator<Removal> {
  const held = new DigestSet()
  const release = dryRun ? async () => {} : await content.coordination.acquireRemovalLease()
  const end = content.holds.watch(digest => held.add(digest))
  const run: EvictRun = { ...policy, storage, content, pace, now, mode: dryRun ? 'tell' : 'remove', held }
  try {
    const unlinked = new Map<Digest, Set<Name>>()
    for await (const name of content.provenance.names()) {
      const before = policy.pinned(name) ? undefined : policy.before(name)
      if (before === undefined) continue
      for await (const removal of evictFrom(run, name, before)) {
        const { kind, digest } = removal
        if (digest && kind !== 'tag') unlinked.set(digest, (unlinked.get(digest) ?? new Set()).add(name))
        yield removal
      }
    }
    yield* removeBytes(run, unlinked)
  } finally {
    end()
    await release()
  }
}

async function* evictFrom(run: EvictRun, name: Name, before: number): AsyncGenerator<Removal> {
  const { content, reason, pinned } = run
  const { removals: withdraw } = content
  const repository = await readCached(content, name, run.pace)
  if (!repository) return
  const gone = new Set<Digest>()
  const may = (digest: Digest) => mayGo(run, name, digest, before)
  for (const batch of batches(leavingManifests(run, name, repository, before))) {
    const digests = batch.map(each => each.digest)
    for (const digest of run.mode === 'tell' ? await filterRemovable(digests, may) : await withdraw.removeManifests(name, batch, may)) {
      gone.add(digest)
      for (const tag of batch.find(each => each.digest === digest)?.tags ?? [])
        yield { type: 'remove', kind: 'tag', name, tag, digest, reason }
      yield { type: 'remove', kind: 'manifest', name, digest, reason }
    }
    await run.pace.step()
  }
  const needed = new Set<Digest>()
  for (const [digest, { blobs }] of repository.manifests) if (!gone.has(digest)) for (const blob of blobs) needed.add(blob)
  const loose = [...repository.marks].filter(
    ([digest, last]) => last < before && !needed.has(digest) && !repository.manifests.has(digest) && !pinned(name, { digest })
  )
  for (const batch of batches(loose)) {
    const digests = batch.map(([digest]) => digest)
    const went = run.mode === 'tell' ? await filterRemovable(digests, may) : await withdraw.removeBlobs(name, digests, may)
    for (const digest of went) yield { type: 'remove', kind: 'link', name, digest, reason }
    await run.pace.step()
  }
}

function leavingManifests({ pinned }: EvictRun, name: Name, { manifests }: CachedRepository, before: number): ManifestRemoval[] {
  const kept = new Set<Digest>()
  const keep = createReachability(manifests, kept)
  for (const [digest, { last, tags }] of manifests) {
    if (last >= before || pinned(name, { digest }) || tags.some(tag => pinned(name, { tag }))) keep(digest)
  }
  return [...manifests]
    .filter(([digest]) => !kept.has(digest))
    .map(([digest, { subject, tags }]) => ({ digest, tags, ...(subject ? { subject } : {}) }))
}

// Asked when nobody can come to need it: somebody may have since it was looked at.
async function mayGo({ content, held, now, grace }: EvictRun, name: Name, digest: Digest, before: number): Promise<boolean> {
  if (held.has(digest) || now() - content.holds.renewedAt(digest) < grace) return false
  if (await content.coordination.wasUsedElsewhere(digest, now() - grace)) return false
  const last = await content.lastAccess.of(name, digest)
  return last !== undefined && last < before
}

// Bytes that another repository may read stay, and so do those that somebody came to need meanwhile.
async function* removeBytes(run: EvictRun, unlinked: ReadonlyMap<Digest, ReadonlySet<Name>>): AsyncGenerator<Removal> {
  if (unlinked.size === 0) return
  const { storage, content, held, now, grace, reason } = run
  const linked = await linkedDigests(run, unlinked)
  const sizes = new Map<Digest, number>()
  const may = async (digest: Digest) => {
    if (linked.has(digest) || held.has(digest) || now() - content.holds.renewedAt(digest) < grace) return false
    const found = await storage.stat(keys.blob(digest))
    if (found && (await content.coordination.wasUsedElsewhere(digest, now() - grace, found))) return false
    sizes.set(digest, found?.size ?? 0)
    return true
  }
  for (const batch of batches([...unlinked.keys()].sort())) {
    for (const digest of run.mode === 'tell' ? await filterRemovable(batch, may) : await content.removals.removeBytes(batch, may)) {
      yield { type: 'remove', kind: 'blob', digest, bytes: sizes.get(digest) ?? 0, reason }
    }
    await run.pace.step()
  }
}

// In a dry run what was unlinked is linked still.
async function linkedDigests(
  { storage, content, pace, mode }: EvictRun,
  unlinked: ReadonlyMap<Digest, ReadonlySet<Name>>
): Promise<DigestSet> {
  const linked = new DigestSet()
  for await (const name of content.names.all()) {
    for (const { prefix, kind } of [
      { prefix: keys.layers(name), kind: content.blobs },
      { prefix: keys.revisions(name), kind: content.manifests }
    ]) {
      for await (const digest of listDigests(storage, prefix)) {
        if (mode === 'tell' && unlinked.get(digest)?.has(name)) continue
        linked.add(digest)
        const target = algorithmOf(digest) === canonical ? undefined : await kind.linked(name, digest)
        if (target) linked.add(target)
        await pace.step()
      }
    }
  }
  return linked
}

function* batches<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += together) yield all.slice(at, at + together)
}
