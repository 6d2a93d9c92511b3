import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import { type InspectionDepth, inspectManifest } from './inspect.ts'
import type { StoredReference } from './report.ts'
import type { ResolvedReference, WhyContext } from './resolve.ts'

/** What is stored under a reference; `fresh`: a pull gets it without a request to the upstream. */
export interface StoredCopy {
  stored: StoredReference
  manifest?: Manifest
  freshness: 'fresh' | 'aged'
}

/** Finds what is stored under a reference; undefined in Direct, which does not read the storage. */
export async function findStoredCopy(
  context: WhyContext,
  target: ResolvedReference,
  reference: Reference,
  depth: InspectionDepth
): Promise<StoredCopy | undefined> {
  if (target.mode === 'Direct') return undefined
  const digest = reference.digest ?? (await context.content.tags.resolve(target.storedName, reference.tag))
  if (!digest) return { stored: { state: 'missing' }, freshness: 'aged' }
  const { inspection, manifest } = await inspectManifest(context, target.storedName, digest, depth)
  const age = await ageOf(context, target, reference, digest)
  const freshness = reference.digest !== undefined || age.fresh === 'yes' ? 'fresh' : 'aged'
  return { stored: { digest, state: inspection.state, ...age }, freshness, ...(manifest ? { manifest } : {}) }
}

async function ageOf(
  { content, config }: WhyContext,
  { storedName, upstream }: ResolvedReference,
  { tag }: Reference,
  digest: Digest
): Promise<Pick<StoredReference, 'origin' | 'age' | 'fresh'>> {
  if (tag === undefined) return { origin: (await content.provenance.get(storedName, digest)) ?? 'pushed' }
  const record = await content.provenance.getTag(storedName, tag)
  if (!record) return { origin: 'pushed' }
  const ageMs = Math.max(0, Date.now() - record.checked)
  const fresh = record.upstream === upstream?.route.origin && record.digest === digest && ageMs < config.cache.tagTTL
  return { origin: record.upstream, age: Math.round(ageMs / 1_000), fresh: fresh ? 'yes' : 'no' }
}
