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

/** What a collection goes by; times in ms. */
export interface GcPolicy {
  untagged?: number
  grace: number
  unreferencedCached: GcRun['unreferencedCached']
}

/**
 * Removes what nothing needs while everything goes on: no lock is held but for moments, and whatever somebody holds from the beginning of the run on stays. It can be
 * broken off at any point and begun again. A dry run tells what would go and changes nothing. Rejects on an error of the medium, with everything in place that is needed.
 */
export async function* collect(
  storage: Storage,
  content: Content,
  { dryRun, pace, now = () => content.coordination.now(), ...policy }: GcPolicy & { dryRun?: true; pace: Yield; now?: () => number }
): AsyncGenerator<GcEvent> {
  const [marked, held] = [new DigestSet(), new DigestSet()]
  const mode = dryRun ? 'tell' : 'remove'
  const release = dryRun ? async () => {} : await content.coordination.acquireRemovalLease()
  const run: GcRun = {
    storage,
    content,
    yielder: pace,
    now,
    mode,
    marked,
    held,
    concurrentPushes: trackConcurrentPushes(content, now),
    untagged: undefined,
    ...policy
  }
  // Before anything is read: who comes to need something later is heard of.
  const end = content.holds.watch(digest => {
    marked.add(digest)
    held.add(digest)
  })
  try {
    yield* told(phases(run), run)
  } finally {
    end()
    await release()
  }
}

async function* phases(run: GcRun): AsyncGenerator<GcEvent | GcProgress['phase']> {
  const { names } = run.content
  const manifests = new Set<string>()
  for await (const name of names.all()) {
    const gone = new Set<Digest>()
    if (run.untagged !== undefined) yield* removeUntagged(run, name, gone)
    const { manifests: stay, unclear } = await markRepository(run, name, gone)
    if (stay > 0) manifests.add(name)
    if (unclear) yield { type: 'unclear', name, digest: unclear }
    yield 'mark'
  }
  for await (const name of names.all()) {
    let stays = manifests.has(name)
    yield* sweepLinks(run, name, () => {
      stays = true
    })
    yield* removeDebris(run, name, stays)
    yield 'sweep'
  }
  for await (const each of sweepBytes(run)) yield each === 'shard' ? 'sweep' : each
}

// Adds up what goes.
async function* told(events: AsyncIterable<GcEvent | GcProgress['phase']>, { marked }: GcRun): AsyncGenerator<GcEvent> {
  const began = Date.now()
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
  yield { type: 'done', marked: marked.size, removed, bytes, ms: Date.now() - began }
}
