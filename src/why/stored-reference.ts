import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import { type InspectionDepth, inspectManifest } from './inspect.ts'
import type { StoredReference } from './report.ts'
import type { ResolvedReference, WhyContext } from './resolve.ts'

/** What the store has under a reference; `fresh`: a pull gets it without a question to the upstream. */
export interface StoredCopy {
  stored: StoredReference
  manifest?: Manifest
  freshness: 'fresh' | 'aged'
}

/** What the store has under the reference itself; Direct does not look at it. */
export async function findStoredCopy(
  view: WhyContext,
  place: ResolvedReference,
  reference: Reference,
  depth: InspectionDepth
): Promise<StoredCopy | undefined> {
  if (place.mode === 'Direct') return undefined
  const digest = reference.digest ?? (await view.content.tags.resolve(place.storedName, reference.tag))
  if (!digest) return { stored: { state: 'missing' }, freshness: 'aged' }
  const { look, manifest } = await inspectManifest(view, place.storedName, digest, depth)
  const age = await ageOf(view, place, reference, digest)
  const freshness = reference.digest !== undefined || age.fresh === 'yes' ? 'fresh' : 'aged'
  return { stored: { digest, state: look.state, ...age }, freshness, ...(manifest ? { manifest } : {}) }
}

async function ageOf(
  { content, config }: WhyContext,
  { storedName: stored, upstream: behind }: ResolvedReference,
  { tag }: Reference,
  digest: Digest
): Promise<Pick<StoredReference, 'origin' | 'age' | 'fresh'>> {
  if (tag === undefined) return { origin: (await content.provenance.get(stored, digest)) ?? 'pushed' }
  const origin = await content.provenance.getTag(stored, tag)
  if (!origin) return { origin: 'pushed' }
  const age = Math.max(0, Date.now() - origin.checked)
  const fresh = origin.upstream === behind?.route.origin && origin.digest === digest && age < config.cache.tagTTL
  return { origin: origin.upstream, age: Math.round(age / 1_000), fresh: fresh ? 'yes' : 'no' }
}
