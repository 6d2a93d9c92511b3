import { type Digest, encodedOf, isDigest } from '../../oci/digest.ts'
import { found } from '../../oci/found.ts'
import { readManifest } from '../../oci/manifest.ts'
import { isTag, type Name, type Tag } from '../../oci/name.ts'
import type { Source } from '../../oci/source.ts'
import { tagsOf } from '../diff.ts'
import { imagesOfRelease, releaseRepositories } from '../pull/release.ts'
import { nameBelow } from '../source.ts'
import type { TagRemoval } from './plan-file.ts'

const version = /^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/
const hexTag = /^[0-9a-f]{64}$/
// Signatures, attestations and SBOMs of cosign.
const companion = /^sha256-([0-9a-f]{64})\.[a-z]+$/

/**
 * The tags of releases that are not kept: their versions, the images that only they name, and what is about those.
 * Every other tag stays, as do modules and packages. Throws if the images of a release that is kept cannot be told.
 */
export async function planPrune(
  source: Source,
  root: Name,
  { keep, signal }: { keep: readonly Tag[]; signal: AbortSignal }
): Promise<{ removals: TagRemoval[]; stays: number }> {
  const kept = await keptDigests(source, root, { keep, signal })
  const removals: TagRemoval[] = []
  let stays = 0
  for (const { path } of releaseRepositories) {
    const name = nameBelow(root, path)
    const tags = (await Array.fromAsync(tagsOf(source, name, signal))).filter(isTag)
    const leaving = new Map<Tag, Digest>()
    for (const tag of tags) {
      const digest = await leavingDigest(source, name, { tag, path, keep, kept, signal })
      if (digest !== undefined) leaving.set(tag, digest)
    }
    const gone = new Set(leaving.values())
    for (const tag of tags) {
      const digest = leaving.has(tag) ? leaving.get(tag) : await companionDigest(source, name, { tag, kept, gone, signal })
      if (digest === undefined) stays++
      else removals.push({ path, tag, digest })
    }
  }
  return { removals, stays }
}

async function keptDigests(
  source: Source,
  root: Name,
  { keep, signal }: { keep: readonly Tag[]; signal: AbortSignal }
): Promise<Set<Digest>> {
  const digests = new Set<Digest>()
  for (const tag of keep) {
    for (const { name, reference } of await imagesOfRelease(source, root, { tag, signal }))
      digests.add(reference.digest ?? (await source.statManifest(name, reference, signal)).value.digest)
  }
  return digests
}

/**
 * The digest of a tag that goes with its release; undefined for one that stays, or is looked at again as a companion.
 */
async function leavingDigest(
  source: Source,
  name: Name,
  { tag, path, keep, kept, signal }: { tag: Tag; path: string; keep: readonly Tag[]; kept: ReadonlySet<Digest>; signal: AbortSignal }
): Promise<Digest | undefined> {
  const isVersion = version.test(tag)
  const isImage = path === '' && hexTag.test(tag) && !kept.has(`sha256:${tag}` as Digest)
  if ((isVersion && keep.includes(tag)) || !(isVersion || isImage)) return undefined
  const manifest = (await found(source.getManifest(name, { tag }, { signal })))?.value
  if (!manifest) return undefined
  // A digest in hex that names something else was not made by d8.
  if (isImage && encodedOf(manifest.descriptor.digest) !== tag) return undefined
  // What is about an image stays with it.
  const { subject } = readManifest(manifest.bytes) ?? {}
  return subject && (kept.has(subject.digest) || !isVersion) ? undefined : manifest.descriptor.digest
}

/** The digest of a tag that is about an image that goes. */
async function companionDigest(
  source: Source,
  name: Name,
  { tag, kept, gone, signal }: { tag: Tag; kept: ReadonlySet<Digest>; gone: ReadonlySet<Digest>; signal: AbortSignal }
): Promise<Digest | undefined> {
  const [, hex] = companion.exec(tag) ?? []
  if (hex === undefined && !hexTag.test(tag)) return undefined
  const manifest = (await found(source.getManifest(name, { tag }, { signal })))?.value
  if (!manifest || kept.has(manifest.descriptor.digest)) return undefined
  const about = hex === undefined ? readManifest(manifest.bytes)?.subject?.digest : `sha256:${hex}`
  return about !== undefined && isDigest(about) && gone.has(about) && !kept.has(about) ? manifest.descriptor.digest : undefined
}
