import type { Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Content } from '../content.ts'
import { DigestSet } from '../digest-table.ts'
import { trackConcurrentPushes } from './concurrent-pushes.ts'
import { removeDebris } from './debris.ts'
import { markRepository } from './mark.ts'
import type { GcDone, GcEvent, GcProgress, GcRun } from './run.ts'
import { sweepBytes, sweepLinks } from './sweep.ts'
import { removeUntagged } from './untagged.ts'
import type { Yield } from './yield.ts'

export type { GcEvent, Removal } from './run.ts'

/** What garbage collection removes; times in ms. See GcRun. */
export interface GcPolicy {
  untagged?: number
  grace: number
  unreferencedCached: GcRun['unreferencedCached']
}

/** How garbage collection runs. */
export interface CollectOptions extends GcPolicy {
  yielder: Yield
  /** Reports what would be removed, and changes nothing. */
  dryRun?: true
  now?: () => number
}

/**
 * Garbage collection: removes unreferenced content while requests go on. A lock is only ever held for moments, and
 * content that is held from the start of the run on is kept. It can be cancelled at any point and started anew. Rejects
 * on an I/O error, with everything reachable still in place.
 */
export async function* collect(
  storage: Storage,
  content: Content,
  { dryRun, yielder, now = () => content.coordination.now(), ...policy }: CollectOptions
): AsyncGenerator<GcEvent> {
  const [marked, held] = [new DigestSet(), new DigestSet()]
  const mode = dryRun ? 'report' : 'remove'
  const release = dryRun ? async () => {} : await content.coordination.acquireRemovalLease()
  const run: GcRun = {
    storage,
    content,
    yielder,
    now,
    mode,
    marked,
    held,
    concurrentPushes: trackConcurrentPushes(content, now),
    untagged: undefined,
    ...policy
  }
  // Before anything is read, so that no later hold is missed.
  const unwatch = content.holds.watch(digest => {
    marked.add(digest)
    held.add(digest)
  })
  try {
    yield* withTotals(phases(run), run)
  } finally {
    unwatch()
    await release()
  }
}

async function* phases(run: GcRun): AsyncGenerator<GcEvent | GcProgress['phase']> {
  const { names } = run.content
  const withManifests = new Set<string>()
  for await (const name of names.all()) {
    const removed = new Set<Digest>()
    if (run.untagged !== undefined) yield* removeUntagged(run, name, removed)
    const { manifests, unclear } = await markRepository(run, name, removed)
    if (manifests > 0) withManifests.add(name)
    if (unclear) yield { type: 'unclear', name, digest: unclear }
    yield 'mark'
  }
  for await (const name of names.all()) {
    let used = withManifests.has(name)
    yield* sweepLinks(run, name, () => {
      used = true
    })
    yield* removeDebris(run, name, used)
    yield 'sweep'
  }
  for await (const each of sweepBytes(run)) yield each === 'shard' ? 'sweep' : each
}

async function* withTotals(events: AsyncIterable<GcEvent | GcProgress['phase']>, { marked }: GcRun): AsyncGenerator<GcEvent> {
  const startedAt = Date.now()
  const removed: GcDone['removed'] = { blob: 0, manifest: 0, tag: 0, link: 0, upload: 0, repository: 0 }
  let [bytes, count, repositories] = [0, 0, 0]
  for await (const each of events) {
    if (each === 'mark' || each === 'sweep') {
      if (each === 'mark') repositories++
      yield { type: 'progress', phase: each, repositories, marked: marked.size, removed: count, bytes }
      continue
    }
    if (each.type === 'remove') {
      removed[each.kind]++
      count++
      bytes += each.bytes ?? 0
    }
    yield each
  }
  yield { type: 'done', marked: marked.size, removed, bytes, ms: Date.now() - startedAt }
}
