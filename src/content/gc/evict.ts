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

/** What is evicted; times in ms. */
export interface EvictPolicy {
  reason: Extract<RemovalReason, 'expired' | 'room'>
  /** Cached content of `name` with a last access before this time is evicted; undefined: none of it. */
  before(name: Name): number | undefined
  /** Whether content of `name` is pinned: all of it, what a tag names, or what has a digest. */
  pinned(name: Name, reference?: { tag: Tag } | { digest: Digest }): boolean
  /** The grace period: a client that was told of content within it may be about to rely on that. */
  grace: number
}

/** How an eviction runs. */
export interface EvictOptions {
  yielder: Yield
  /** Reports what would be removed, and changes nothing. */
  dryRun?: true
  now?: () => number
}

interface EvictRun extends EvictPolicy {
  storage: Storage
  content: Content
  yielder: Yield
  now: () => number
  mode: 'remove' | 'report'
  /** Digests that were held since the run began. */
  held: DigestSet
}

const batchSize = 64

/**
 * Eviction and expiry: removes cached content by its last access, manifests with their tags first, then blobs that no
 * other manifest needs. Content without a provenance record was pushed and is not considered. Rejects on an I/O error.
 */
export async function* evict(
  storage: Storage,
  content: Content,
  policy: EvictPolicy,
  { yielder, now = () => content.coordination.now(), dryRun }: EvictOptions
): AsyncGenerator<Removal> {
  const held = new DigestSet()
  const release = dryRun ? async () => {} : await content.coordination.acquireRemovalLease()
  const unwatch = content.holds.watch(digest => held.add(digest))
  const run: EvictRun = { ...policy, storage, content, yielder, now, mode: dryRun ? 'report' : 'remove', held }
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
    unwatch()
    await release()
  }
}

async function* evictFrom(run: EvictRun, name: Name, before: number): AsyncGenerator<Removal> {
  const repository = await readCached(run.content, name, run.yielder)
  if (!repository) return
  const removed = new Set<Digest>()
  for await (const removal of evictManifests(run, name, repository, before)) {
    if (removal.kind === 'manifest' && removal.digest) removed.add(removal.digest)
    yield removal
  }
  yield* evictBlobs(run, name, { repository, removed, before })
}

async function* evictManifests(run: EvictRun, name: Name, repository: CachedRepository, before: number): AsyncGenerator<Removal> {
  const { content, reason, mode, yielder } = run
  const canRemove = (digest: Digest) => isEvictable(run, name, digest, before)
  for (const batch of batches(manifestsToEvict(run, name, repository, before))) {
    const digests = batch.map(each => each.digest)
    const removed =
      mode === 'report' ? await filterRemovable(digests, canRemove) : await content.removals.removeManifests(name, batch, canRemove)
    for (const digest of removed) {
      for (const tag of batch.find(each => each.digest === digest)?.tags ?? [])
        yield { type: 'remove', kind: 'tag', name, tag, digest, reason }
      yield { type: 'remove', kind: 'manifest', name, digest, reason }
    }
    await yielder.step()
  }
}

async function* evictBlobs(
  run: EvictRun,
  name: Name,
  { repository, removed, before }: { repository: CachedRepository; removed: ReadonlySet<Digest>; before: number }
): AsyncGenerator<Removal> {
  const { content, reason, mode, pinned, yielder } = run
  const canRemove = (digest: Digest) => isEvictable(run, name, digest, before)
  const referenced = new Set<Digest>()
  for (const [digest, { blobs }] of repository.manifests) if (!removed.has(digest)) for (const blob of blobs) referenced.add(blob)
  const unreferenced = [...repository.lastAccess].filter(
    ([digest, last]) => last < before && !referenced.has(digest) && !repository.manifests.has(digest) && !pinned(name, { digest })
  )
  for (const batch of batches(unreferenced)) {
    const digests = batch.map(([digest]) => digest)
    const unlinked =
      mode === 'report' ? await filterRemovable(digests, canRemove) : await content.removals.removeBlobs(name, digests, canRemove)
    for (const digest of unlinked) yield { type: 'remove', kind: 'link', name, digest, reason }
    await yielder.step()
  }
}

function manifestsToEvict({ pinned }: EvictRun, name: Name, { manifests }: CachedRepository, before: number): ManifestRemoval[] {
  const kept = new Set<Digest>()
  const keep = createReachability(manifests, kept)
  for (const [digest, { lastNeeded, tags }] of manifests) {
    if (lastNeeded >= before || pinned(name, { digest }) || tags.some(tag => pinned(name, { tag }))) keep(digest)
  }
  return [...manifests]
    .filter(([digest]) => !kept.has(digest))
    .map(([digest, { subject, tags }]) => ({ digest, tags, ...(subject ? { subject } : {}) }))
}

// Call while holds wait: a client may have come to need the content since the repository was read.
async function isEvictable({ content, held, now, grace }: EvictRun, name: Name, digest: Digest, before: number): Promise<boolean> {
  if (held.has(digest) || now() - content.holds.renewedAt(digest) < grace) return false
  if (await content.coordination.wasUsedElsewhere(digest, now() - grace)) return false
  const last = await content.lastAccess.of(name, digest)
  return last !== undefined && last < before
}

// Except for bytes that another repository may read, and those that a client has come to need.
async function* removeBytes(run: EvictRun, unlinked: ReadonlyMap<Digest, ReadonlySet<Name>>): AsyncGenerator<Removal> {
  if (unlinked.size === 0) return
  const { storage, content, held, now, grace, reason } = run
  const linked = await linkedDigests(run, unlinked)
  const sizes = new Map<Digest, number>()
  const canRemove = async (digest: Digest) => {
    if (linked.has(digest) || held.has(digest) || now() - content.holds.renewedAt(digest) < grace) return false
    const found = await storage.stat(keys.blob(digest))
    if (found && (await content.coordination.wasUsedElsewhere(digest, now() - grace, found))) return false
    sizes.set(digest, found?.size ?? 0)
    return true
  }
  for (const batch of batches([...unlinked.keys()].sort())) {
    const removed = run.mode === 'report' ? await filterRemovable(batch, canRemove) : await content.removals.removeBytes(batch, canRemove)
    for (const digest of removed) yield { type: 'remove', kind: 'blob', digest, bytes: sizes.get(digest) ?? 0, reason }
    await run.yielder.step()
  }
}

// In a dry run the links in `unlinked` still exist.
async function linkedDigests(
  { storage, content, yielder, mode }: EvictRun,
  unlinked: ReadonlyMap<Digest, ReadonlySet<Name>>
): Promise<DigestSet> {
  const linked = new DigestSet()
  for await (const name of content.names.all()) {
    for (const { prefix, kind } of [
      { prefix: keys.layers(name), kind: content.blobs },
      { prefix: keys.revisions(name), kind: content.manifests }
    ]) {
      for await (const digest of listDigests(storage, prefix)) {
        if (mode === 'report' && unlinked.get(digest)?.has(name)) continue
        linked.add(digest)
        const target = algorithmOf(digest) === canonical ? undefined : await kind.linked(name, digest)
        if (target) linked.add(target)
        await yielder.step()
      }
    }
  }
  return linked
}

function* batches<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += batchSize) yield all.slice(at, at + batchSize)
}
