import type { Descriptor } from '../oci/descriptor.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { isJsonObject, type JsonObject, parseJson } from '../oci/json.ts'
import { isTag, type Tag } from '../oci/name.ts'

/** The annotations that d8 writes: the reference that an image was pulled by, and the tag that it is pushed under. */
export const annotations = { reference: 'org.opencontainers.image.ref.name', shortTag: 'io.deckhouse.image.short_tag' } as const

/** An image that the `index.json` of an image layout lists. Without a tag it is pushed by its digest alone. */
export interface ListedImage {
  descriptor: Descriptor
  tag?: Tag
  /** `org.opencontainers.image.ref.name` */
  reference?: string
}

/** The largest `index.json` that is read, in bytes: that of some tens of thousands of images. */
export const maxIndexBytes = 16 * 1024 * 1024
const maxIndexCost = 6_400_000

/**
 * The images of an `index.json` (image-spec, "Image Layout"). Its media type does not matter: d8 writes that of a
 * layout there. An image that cannot be used is left out, and `onFault` is told of it; `onNotice` of one that can be
 * used otherwise than it says. Throws an Error if the text is no index.
 */
export function readLayoutIndex(
  bytes: Uint8Array,
  report: { onFault(reason: string, digest?: Digest): void; onNotice(reason: string, digest?: Digest): void }
): ListedImage[] {
  const manifests = manifestsIn(bytes)
  return manifests.flatMap((value, at) => {
    const descriptor = descriptorIn(value)
    if (typeof descriptor === 'string') {
      report.onFault(`manifests[${at}]: ${descriptor}`)
      return []
    }
    const notes = isJsonObject(value) && isJsonObject(value['annotations']) ? value['annotations'] : {}
    const { [annotations.shortTag]: shortTag, [annotations.reference]: reference } = notes
    const known = typeof reference === 'string' ? { reference } : {}
    if (typeof shortTag === 'string' && isTag(shortTag)) return [{ descriptor, tag: shortTag, ...known }]
    if (shortTag !== undefined && shortTag !== '') report.onFault(`${JSON.stringify(shortTag).slice(0, 160)} is no tag`, descriptor.digest)
    else report.onNotice(`without ${annotations.shortTag}: it is kept under its digest alone`, descriptor.digest)
    return [{ descriptor, ...known }]
  })
}

function manifestsIn(bytes: Uint8Array): unknown[] {
  let value: unknown
  try {
    value = parseJson(bytes, maxIndexCost)
  } catch (cause) {
    throw new Error('it is not JSON that can be read', { cause })
  }
  const manifests = isJsonObject(value) ? value['manifests'] : undefined
  // Go writes a list without entries as null.
  if (isJsonObject(value) && (manifests === undefined || manifests === null)) return []
  if (!Array.isArray(manifests)) throw new Error('it has no list of manifests')
  return manifests
}

function descriptorIn(value: unknown): Descriptor | string {
  if (!isJsonObject(value)) return 'it is no descriptor'
  const { mediaType, digest, size }: JsonObject = value
  if (typeof digest !== 'string' || !isDigest(digest)) return 'it has no digest of sha256 or sha512'
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return `${digest}: its size is no number of bytes`
  return { mediaType: typeof mediaType === 'string' ? mediaType : '', digest, size }
}

/**
 * The images of one layout that several archives or entries list: each digest and reference once (as d8 merges them),
 * and each tag once, where the last image that has it keeps it.
 */
export function mergeImages(lists: readonly ListedImage[], onNotice: (reason: string, digest: Digest) => void): ListedImage[] {
  const once = new Map<string, ListedImage>()
  for (const image of lists) once.set(`${image.descriptor.digest} ${image.tag ?? ''} ${image.reference ?? ''}`, image)
  const merged = new Map<string, ListedImage>()
  const tagged = new Map<Tag, Digest>()
  for (const image of [...once.values()].reverse()) {
    const { tag, descriptor } = image
    const owner = tag === undefined ? undefined : tagged.get(tag)
    if (tag !== undefined && owner !== undefined && owner !== descriptor.digest) {
      onNotice(
        `the tag ${tag} is given twice; ${owner} comes last and keeps it, this one is kept under its digest alone`,
        descriptor.digest
      )
      merged.set(descriptor.digest, merged.get(descriptor.digest) ?? { descriptor })
      continue
    }
    if (tag !== undefined) tagged.set(tag, descriptor.digest)
    merged.set(`${descriptor.digest} ${tag ?? ''}`, image)
  }
  return [...merged.values()].reverse()
}
