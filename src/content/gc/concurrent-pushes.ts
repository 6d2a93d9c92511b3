import type { Digest } from '../../oci/digest.ts'
import type { Content } from '../content.ts'
import * as keys from '../keys.ts'
import { markManifest } from './mark.ts'
import { type GcRun, targetOf } from './run.ts'

/**
 * When the run started, by a clock that is never ahead of the storage's, and when it last scanned for concurrent
 * pushes, by its own. In ms.
 */
export interface ConcurrentPushes {
  startedAt: number
  scannedAt: number
}

// Content that a pushed manifest needs is at most this part of the grace period old, which leaves the rest of it to
// find the manifest.
const partOfGrace = 4
// Times of objects are in whole seconds, and clocks may drift apart during a run.
const clockMarginMs = 120_000

/** The state before any scan. */
export function trackConcurrentPushes(content: Content, now: () => number): ConcurrentPushes {
  return { startedAt: content.coordination.now(), scannedAt: now() }
}

/**
 * Marks what concurrent pushes need, as if it had been held: the holds of other processes are not known here. Call
 * before each removal; scans a few times per grace period.
 */
export async function markConcurrentPushes(run: GcRun): Promise<void> {
  const { content, marked, held, yielder, concurrentPushes, grace, now } = run
  if (!content.coordination.othersWrite || now() - concurrentPushes.scannedAt < grace / partOfGrace) return
  const startedAt = now()
  const { listing } = content.coordination
  const reachable = { add: (digest: Digest) => [marked, held].forEach(each => void each.add(digest)) }
  for await (const name of content.names.all()) {
    for await (const { digest, modified = 0 } of listing.links(keys.revisions(name))) {
      if (modified < concurrentPushes.startedAt - clockMarginMs) continue
      const target = await targetOf(run, keys.revision(name, digest), digest)
      if (await markManifest({ content, yielder, marked: reachable }, digest, target, { name, digest })) continue
      // An unclear manifest may need anything that the repository may read.
      for await (const layer of listing.links(keys.layers(name))) marked.add(layer.digest)
    }
  }
  concurrentPushes.scannedAt = startedAt
}
