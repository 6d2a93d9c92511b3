import { type Descriptor, isManifestType, isNonDistributable } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { reasonOf } from '../oci/errors.ts'
import { type BlobNode, type ManifestNode, walkGraph } from '../oci/graph.ts'
import { mediaTypeOf, type ParsedManifest, readManifest } from '../oci/manifest.ts'
import type { Tag } from '../oci/name.ts'
import type { Bundle } from './bundle.ts'
import type { BundleFault } from './faults.ts'
import type { ListedImage } from './layout-index.ts'

/** An image of a bundle with all that it needs. */
export interface PlannedImage {
  /** The repository's path in the bundle. */
  path: string
  tag?: Tag
  digest: Digest
  /** Children before their parents; the image itself is the last one. */
  manifests: Digest[]
  blobs: PlannedBlob[]
  /** Why it cannot be made of the bundle: something of it is damaged, or of a kind that is not known. */
  damage?: string
}

/** A blob of an image; `here`: whether the bundle has it. One that it lacks the target may have. */
export interface PlannedBlob {
  digest: Digest
  size: number
  here: boolean
}

/** What a bundle is made of. */
export interface BundlePlan {
  images: PlannedImage[]
  /** Manifests that are missing or damaged. */
  faults: BundleFault[]
  /** Blobs that are missing: a bundle made with `--since` lacks those of the one before. */
  lacking: (BundleFault & { digest: Digest; size: number })[]
  notices: BundleFault[]
  /** The manifests that have a subject, by that. */
  referrers: ReadonlyMap<Digest, Descriptor[]>
  /** Each blob of the bundle's images once. */
  blobs: number
  bytes: number
}

const maxNamedImages = 3

/** Reads every manifest of a bundle, and finds out what its images need. No blob is read. */
export async function planOf(bundle: Bundle, signal: AbortSignal): Promise<BundlePlan> {
  return new Planner(bundle, signal).run()
}

/** `<path>:<tag>` of an image, or `<path>@<digest>`; the root's path is `.`. */
export function imageText({ path, tag, digest }: Pick<PlannedImage, 'path' | 'tag' | 'digest'>): string {
  const name = path === '' ? '.' : path
  return tag === undefined ? `${name}@${digest}` : `${name}:${tag}`
}

class Planner {
  readonly #bundle: Bundle
  readonly #signal: AbortSignal
  readonly #notices: BundleFault[] = []
  // By digest, so that what many images lack is told once.
  readonly #faults = new Map<Digest, { reason: string; images: string[]; count: number }>()
  readonly #lacking = new Map<Digest, { reason: string; images: string[]; count: number; size: number }>()
  readonly #referrers = new Map<Digest, Descriptor[]>()
  readonly #known = new Set<Digest>()

  constructor(bundle: Bundle, signal: AbortSignal) {
    this.#bundle = bundle
    this.#signal = signal
  }

  async run(): Promise<BundlePlan> {
    const images: PlannedImage[] = []
    for (const { path, images: listed } of this.#bundle.repositories.values())
      for (const each of listed) images.push(await this.#image(path, each))
    const faults = [...this.#faults].map(([digest, about]) => ({ digest, reason: about.reason, images: namesIn(about) }))
    const lacking = [...this.#lacking].map(([digest, about]) => ({
      digest,
      size: about.size,
      reason: about.reason,
      images: namesIn(about)
    }))
    const blobs = new Map(images.flatMap(each => each.blobs).map(each => [each.digest, each.size]))
    const bytes = [...blobs.values()].reduce((sum, size) => sum + size, 0)
    return { images, faults, lacking, notices: this.#notices, referrers: this.#referrers, blobs: blobs.size, bytes }
  }

  async #image(path: string, { descriptor, tag }: ListedImage): Promise<PlannedImage> {
    const { digest } = descriptor
    const image: PlannedImage = { path, digest, manifests: [], blobs: [], ...(tag === undefined ? {} : { tag }) }
    const bytes = await this.#manifest(digest, image)
    if (!bytes) return image
    this.#compare(descriptor, bytes, image)
    await walkGraph(
      { descriptor, bytes },
      {
        order: 'children-first',
        signal: this.#signal,
        read: link => this.#read(link.descriptor, image),
        visit: node => this.#visit(node, image)
      }
    )
    return image
  }

  async #read({ mediaType, digest }: Descriptor, image: PlannedImage): Promise<Uint8Array | 'blob' | undefined> {
    if (isNonDistributable(mediaType)) return 'blob'
    // An index may list blobs, as BuildKit's cache of layers does.
    return !isManifestType(mediaType) && this.#bundle.locate(digest) ? 'blob' : this.#manifest(digest, image)
  }

  #visit(node: ManifestNode | BlobNode, image: PlannedImage): void {
    const { digest, size } = node.descriptor
    if (node.kind === 'manifest') return void image.manifests.push(digest)
    if (node.nonDistributable) return
    const located = this.#bundle.locate(digest)
    image.blobs.push({ digest, size: located?.size ?? size, here: located !== undefined })
    if (!located) count(this.#lacking, digest, { reason: `the bundle lacks it (${size} bytes)`, size, image })
    else if (located.size !== size)
      this.#notices.push({ digest, reason: `its descriptor says ${size} bytes; it has ${located.size}`, images: [imageText(image)] })
  }

  /** Undefined for one that cannot be used, which is noted. */
  async #manifest(digest: Digest, image: PlannedImage): Promise<Uint8Array | undefined> {
    try {
      const bytes = await this.#bundle.readManifest(digest)
      const parsed = readManifest(bytes)
      if (!parsed) throw new Error(`a manifest of an unknown kind (${mediaTypeOf(bytes)}), whose parts are not known`)
      this.#learn(digest, bytes, parsed)
      return bytes
    } catch (error) {
      this.#signal.throwIfAborted()
      const reason = reasonOf(error)
      image.damage ??= `${digest}: ${reason}`
      count(this.#faults, digest, { reason, image })
      return undefined
    }
  }

  #learn(digest: Digest, bytes: Uint8Array, parsed: ParsedManifest): void {
    if (this.#known.has(digest) || !parsed.subject) return
    this.#known.add(digest)
    const { mediaType, artifactType, annotations } = parsed
    const descriptor: Descriptor = {
      mediaType,
      digest,
      size: bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations })
    }
    this.#referrers.set(parsed.subject.digest, [...(this.#referrers.get(parsed.subject.digest) ?? []), descriptor])
  }

  #compare({ mediaType, digest, size }: Descriptor, bytes: Uint8Array, image: PlannedImage): void {
    const actual = mediaTypeOf(bytes)
    const notice = (reason: string) => this.#notices.push({ digest, reason, images: [imageText(image)] })
    if (mediaType !== actual) notice(`index.json says ${mediaType === '' ? 'no media type' : mediaType}; it is ${actual}`)
    if (size !== bytes.length) notice(`index.json says ${size} bytes; it has ${bytes.length}`)
  }
}

interface Counted {
  reason: string
  images: string[]
  count: number
}

/** Counts an image among those that something concerns. */
function count<About extends { reason: string; image: PlannedImage }>(
  counted: Map<Digest, Omit<About, 'image'> & Counted>,
  digest: Digest,
  { image, ...about }: About
): void {
  const known = counted.get(digest) ?? { ...about, images: [], count: 0 }
  counted.set(digest, known)
  known.count++
  if (known.images.length < maxNamedImages) known.images.push(imageText(image))
}

function namesIn({ images, count }: Counted): string[] {
  return count > images.length ? [...images, `and ${count - images.length} more`] : images
}
