import type { Digest } from '../../oci/digest.ts'
import type { Content } from '../content.ts'
import * as keys from '../keys.ts'
import { markManifest } from './mark.ts'
import { type GcRun, targetOf } from './run.ts'

/** In ms: when a collection began, by a clock that is never ahead of the store's, and when it last looked for manifests that came since, by its own. */
export interface ConcurrentPushes {
  startedAt: number
  scannedAt: number
}

// What a manifest needs is as new as a part of the grace when it comes, so that the rest of it is time to see the manifest.
const partOfGrace = 4
// Times of objects are told in seconds, and clocks may drift apart while a collection runs.
const margin = 120_000

/** Nothing has come yet. */
export function trackConcurrentPushes(content: Content, now: () => number): ConcurrentPushes {
  return { startedAt: content.coordination.now(), scannedAt: now() }
}

/**
 * Marks what other processes pushed since the collection began, whose holds are not known here, as if it had been held; called before anything goes, and does something from time to time.
 */
export async function markConcurrentPushes(run: GcRun): Promise<void> {
  const { content, marked, held, yielder: pace, concurrentPushes: late, grace, now } = run
  if (!content.coordination.othersWrite || now() - late.scannedAt < grace / partOfGrace) return
  const began = now()
  const needed = { add: (digest: Digest) => [marked, held].forEach(each => void each.add(digest)) }
  for await (const name of content.names.all()) {
    for await (const { digest, modified = 0 } of content.coordination.listing.links(keys.revisions(name))) {
      if (modified < late.startedAt - margin) continue
      const target = await targetOf(run, keys.revision(name, digest), digest)
      if (await markManifest({ content, yielder: pace, marked: needed }, digest, target, { name, digest })) continue
      // It may need anything that the repository may read.
      for await (const layer of content.coordination.listing.links(keys.layers(name))) marked.add(layer.digest)
    }
  }
  late.scannedAt = began
}
