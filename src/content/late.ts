import { type CollectRun, targetOf } from './collect-run.ts'
import * as keys from './keys.ts'
import { listLinks } from './listing.ts'
import { markManifest } from './mark.ts'

/** In ms: when a collection began, and when it last looked for manifests that came since. */
export interface Late {
  began: number
  looked: number
}

// What a manifest needs is as new as a part of the grace when it comes, so that the rest of it is time to see the manifest.
const partOfGrace = 4
// Times of objects are told in seconds, and by another clock.
const margin = 120_000

/** Nothing has come yet. */
export function createLate(): Late {
  const now = Date.now()
  return { began: now, looked: now }
}

/**
 * Marks what other processes pushed since the collection began, whose holds are not known here; called before anything goes, and does something from time to time.
 */
export async function markLate(run: CollectRun): Promise<void> {
  const { storage, content, late, grace } = run
  if (storage.sharing === 'alone' || Date.now() - late.looked < grace / partOfGrace) return
  const began = Date.now()
  for await (const name of content.names.all()) {
    for await (const { digest, modified = 0 } of listLinks(storage, keys.revisions(name))) {
      if (modified < late.began - margin) continue
      const target = await targetOf(run, keys.revision(name, digest), digest)
      if (await markManifest(run, digest, target, { name, digest })) continue
      // It may need anything that the repository may read.
      for await (const layer of listLinks(storage, keys.layers(name))) run.marked.add(layer.digest)
    }
  }
  late.looked = began
}
