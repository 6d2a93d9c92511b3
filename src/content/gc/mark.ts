import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name } from '../../oci/name.ts'
import type { DigestSet } from '../digest-table.ts'
import * as keys from '../keys.ts'
import type { LinkedManifest } from '../manifests.ts'
import { listDigests } from '../walk.ts'
import { type GcRun, targetOf } from './run.ts'

/** What marking one repository came to. */
export interface Marked {
  /** Manifests that stay. */
  manifests: number
  /** One of them that does not tell what it needs. */
  unclear?: Digest
}

/**
 * Marks what the manifests and tags of `name` need, except for manifests in `gone`. What a manifest needs is linked in its repository: so where one is damaged, or of a
 * kind that is not known here, everything that the repository may read is marked. An error of the medium is no such damage, and ends the run: what cannot be read now may
 * be needed all the same.
 */
export async function markRepository(run: GcRun, name: Name, gone: ReadonlySet<Digest>): Promise<Marked> {
  const { storage, content, marked } = run
  let count = 0
  let unclear: Digest | undefined
  const mark = async (digest: Digest, target: Digest, from?: LinkedManifest) => {
    if (!(await markManifest(run, digest, target, from))) unclear = digest
  }
  for await (const digest of content.manifests.list(name)) {
    if (gone.has(digest)) continue
    count++
    await mark(digest, await targetOf(run, keys.revision(name, digest), digest), { name, digest })
  }
  // A tag without its manifest cannot be pulled, but pushing the manifest again is enough to mend it.
  for await (const { digest } of content.tags.all(name)) {
    if (!marked.has(digest) && !gone.has(digest) && (await content.blobs.stored(digest))) await mark(digest, digest)
  }
  if (unclear !== undefined) for await (const digest of listDigests(storage, keys.layers(name))) marked.add(digest)
  await markLoose(run, name)
  return { manifests: count, ...(unclear === undefined ? {} : { unclear }) }
}

// What marking a manifest takes; `marked` may be several.
type MarkRun = Pick<GcRun, 'content' | 'yielder'> & { marked: Pick<DigestSet, 'add'> }

/** Marks a manifest, which lies under `target`, with what it needs; resolves to whether it tells that. */
export async function markManifest(
  { content, marked, yielder: pace }: MarkRun,
  digest: Digest,
  target: Digest,
  from?: LinkedManifest
): Promise<boolean> {
  marked.add(digest)
  marked.add(target)
  const bytes = await content.manifests.peek(target, from)
  const parsed = bytes && readManifest(bytes)
  for (const needed of parsed?.blobs ?? []) marked.add(needed.digest)
  for (const child of parsed?.manifests ?? []) marked.add(child.digest)
  await pace.step()
  return parsed !== undefined
}

// Cached blobs that no manifest needs, while somebody asks for them.
async function markLoose({ content, unreferencedCached: loose, marked, yielder: pace, now, grace }: GcRun, name: Name): Promise<void> {
  for await (const digest of content.provenance.list(name)) {
    if (marked.has(digest)) continue
    const last = loose === 'keep' ? Number.POSITIVE_INFINITY : ((await content.lastAccess.of(name, digest)) ?? 0)
    if (now() - last < grace) marked.add(digest)
    await pace.step()
  }
}
