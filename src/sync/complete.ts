import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import type { FetchedManifest, SyncTree } from './ports.ts'

// An index of indexes is rare; a deeper one is an attack or a mistake.
const maxDepth = 8

/** What content is completed with. */
export interface CompleteOptions {
  tree: SyncTree
  /** The peers to copy from. */
  peers: () => readonly string[]
  /** Whether a manifest was removed from the repository: then an index goes without it. */
  isRemoved: (name: Name, digest: Digest) => boolean
  /** A manifest was linked on the way. */
  onLinked: (name: Name, digest: Digest) => void
  signal: AbortSignal
}

/**
 * Brings a manifest and everything below it into the repository, in this order: blobs, children, the manifest itself.
 * So a client that is given the manifest finds all of it. Resolves to `none` if each peer said that it has not the
 * manifest, or something below it; but what was deleted below a manifest that a peer shows is left out here too.
 * Rejects if something is missing that may be with a peer that could not be asked.
 */
export async function completeManifest(
  name: Name,
  digest: Digest,
  wanted: () => boolean,
  options: CompleteOptions,
  depth = 0
): Promise<'done' | 'none' | 'unwanted'> {
  const { tree, peers, signal } = options
  if ((await tree.shown('revision', name, digest)) !== undefined) return 'done'
  const manifest = await tree.readManifest(name, digest, peers(), signal)
  if (manifest === 'none') return 'none'
  const complete = await completeNeeds(name, manifest, wanted, options, depth)
  if (!complete && !(await tree.isShownBy(name, digest, peers(), signal))) return 'none'
  if (!(await tree.linkManifest(name, digest, manifest, wanted))) return 'unwanted'
  options.onLinked(name, digest)
  return 'done'
}

async function completeNeeds(
  name: Name,
  { needs }: FetchedManifest,
  wanted: () => boolean,
  options: CompleteOptions,
  depth: number
): Promise<boolean> {
  let complete = true
  if (depth >= maxDepth) throw new Error(`indexes are nested more than ${maxDepth} deep`)
  for (const blob of needs.blobs) {
    options.signal.throwIfAborted()
    if ((await completeBlob(name, blob, options)) === 'none') complete = false
  }
  for (const child of needs.manifests) {
    options.signal.throwIfAborted()
    if (options.isRemoved(name, child)) continue
    // A child may be a blob, whatever its media type says.
    const done = await completeManifest(name, child, () => wanted() && !options.isRemoved(name, child), options, depth + 1)
    if (done === 'none' && (await completeBlob(name, child, options)) === 'none') complete = false
  }
  return complete
}

/** Brings a blob into the repository. */
export async function completeBlob(name: Name, digest: Digest, { tree, peers, signal }: CompleteOptions): Promise<'done' | 'none'> {
  if (await tree.hasBlob(name, digest)) return 'done'
  return (await tree.copyBlob(name, digest, peers(), signal)) === 'copied' ? 'done' : 'none'
}
