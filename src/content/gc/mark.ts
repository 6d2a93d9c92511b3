import type { Digest } from '../../oci/digest.ts'
import { readManifest } from '../../oci/manifest.ts'
import type { Name } from '../../oci/name.ts'
import type { DigestSet } from '../digest-table.ts'
import * as keys from '../keys.ts'
import type { LinkedManifest } from '../manifests.ts'
import { listDigests } from '../walk.ts'
import { type GcRun, targetOf } from './run.ts'

/** The result of marking one repository. */
export interface Marked {
  /** How many manifests are kept. */
  manifests: number
  /** A kept manifest that is damaged or of an unknown kind. */
  unclear?: Digest
}

/**
 * Marks what the manifests and tags of `name` need, except for manifests in `removed`. Content that a manifest needs is
 * linked in its repository. So if a manifest is damaged or of an unknown kind, everything that the repository may read
 * is marked. An I/O error is no such damage and ends the run: content that cannot be read now may be needed all the
 * same.
 */
export async function markRepository(run: GcRun, name: Name, removed: ReadonlySet<Digest>): Promise<Marked> {
  const { storage, content, marked } = run
  let count = 0
  let unclear: Digest | undefined
  const mark = async (digest: Digest, target: Digest, from?: LinkedManifest) => {
    if (!(await markManifest(run, digest, target, from))) unclear = digest
  }
  for await (const digest of content.manifests.list(name)) {
    if (removed.has(digest)) continue
    count++
    await mark(digest, await targetOf(run, keys.revision(name, digest), digest), { name, digest })
  }
  // A tag without its manifest cannot be pulled, but pushing the manifest again is enough to mend it.
  for await (const { digest } of content.tags.all(name)) {
    if (!marked.has(digest) && !removed.has(digest) && (await content.blobs.stored(digest))) await mark(digest, digest)
  }
  if (unclear !== undefined) for await (const digest of listDigests(storage, keys.layers(name))) marked.add(digest)
  await markUnreferencedCached(run, name)
  return { manifests: count, ...(unclear === undefined ? {} : { unclear }) }
}

// `marked` may stand for several sets.
type MarkRun = Pick<GcRun, 'content' | 'yielder'> & { marked: Pick<DigestSet, 'add'> }

/** Marks a manifest whose bytes lie under `target`, with what it needs; resolves to whether it could be read. */
export async function markManifest(
  { content, marked, yielder }: MarkRun,
  digest: Digest,
  target: Digest,
  from?: LinkedManifest
): Promise<boolean> {
  marked.add(digest)
  marked.add(target)
  const bytes = await content.manifests.peek(target, from)
  const parsed = bytes && readManifest(bytes)
  for (const blob of parsed?.blobs ?? []) marked.add(blob.digest)
  for (const child of parsed?.manifests ?? []) marked.add(child.digest)
  await yielder.step()
  return parsed !== undefined
}

// All of them with `keep`, else those that were requested within the grace period.
async function markUnreferencedCached({ content, unreferencedCached, marked, yielder, now, grace }: GcRun, name: Name): Promise<void> {
  for await (const digest of content.provenance.list(name)) {
    if (marked.has(digest)) continue
    const last = unreferencedCached === 'keep' ? Number.POSITIVE_INFINITY : ((await content.lastAccess.of(name, digest)) ?? 0)
    if (now() - last < grace) marked.add(digest)
    await yielder.step()
  }
}
