import { type Descriptor, isManifestType, isNonDistributable } from './descriptor.ts'
import { isNotFound } from './errors.ts'
import { found } from './found.ts'
import type { Name } from './name.ts'
import { matchesPlatform } from './platform.ts'
import type { Source } from './source.ts'

/**
 * Whether a child of an index is wanted by a client of one of `platforms`; an empty list wants all. A blob that an
 * index lists, as BuildKit's cache of layers does, belongs to no platform and is always wanted.
 */
export function isWantedChild(
  { mediaType, platform }: { mediaType: string; platform?: string | undefined },
  platforms: readonly string[]
): boolean {
  return matchesPlatform(platform, platforms) || (platform === undefined && !isManifestType(mediaType))
}

/** A child of an index at a source, and how a manifest is read there. */
export interface ChildAtSource {
  source: Pick<Source, 'statBlob'>
  name: Name
  descriptor: Descriptor
  /** Rejects with an error that `isNotFound` recognises if there is no such manifest. */
  readManifest(): Promise<Uint8Array>
  signal: AbortSignal
}

/**
 * The bytes of a child that is a manifest, or `blob`. Its media type tells which endpoint is asked first, and the
 * source tells what it is. One that a source need not have is not asked for.
 */
export async function readChild({ source, name, descriptor, readManifest, signal }: ChildAtSource): Promise<Uint8Array | 'blob'> {
  if (isNonDistributable(descriptor.mediaType)) return 'blob'
  const isBlob = async () => (await found(source.statBlob(name, descriptor.digest, signal))) !== undefined
  if (!isManifestType(descriptor.mediaType)) return (await isBlob()) ? 'blob' : readManifest()
  try {
    return await readManifest()
  } catch (error) {
    if (isNotFound(error) && (await isBlob())) return 'blob'
    throw error
  }
}
