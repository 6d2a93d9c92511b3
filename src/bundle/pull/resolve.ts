import { createSemaphore } from '../../../storage/semaphore.ts'
import { filterIndex } from '../../copy/filter-index.ts'
import { readChild } from '../../oci/children.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, encodedOf } from '../../oci/digest.ts'
import { found } from '../../oci/found.ts'
import { type BlobNode, type ManifestNode, walkGraph } from '../../oci/graph.ts'
import { mediaTypeOf, readManifest } from '../../oci/manifest.ts'
import { isTag, type Name, type Reference, referenceText, type Tag } from '../../oci/name.ts'
import type { Manifest, Source } from '../../oci/source.ts'
import { tagsOf } from '../diff.ts'
import type { Patience } from '../push/patience.ts'
import type { LayoutContent, LayoutManifest } from './archive-plan.ts'

/** A reference that is to be in a bundle: the repository's path below the root, and its name at the source. */
export interface WantedImage {
  path: string
  name: Name
  reference: Reference
}

/** How references are resolved. */
export interface ResolveOptions {
  source: Source
  /** The root at the source, for the annotations: `<host>/<path>`. */
  from: string
  /** `os/architecture[/variant]` of the indexes that tags name; empty: all. What a digest names stays as it is. */
  platforms: readonly string[]
  referrers: 'take' | 'leave'
  atOnce: number
  patience: Patience
  signal: AbortSignal
}

interface Layout extends LayoutContent {
  manifests: Map<Digest, LayoutManifest>
  blobs: Map<Digest, number>
}

// What cosign calls the signatures, attestations and SBOMs of a manifest where it does not use the referrers API.
const companions = ['sig', 'att', 'sbom']

/**
 * Reads all manifests that references lead to, with their referrers: those of the referrers API and cosign's tags.
 * `onFailure` is told of each reference that cannot be resolved.
 */
export async function resolveImages(
  wanted: readonly WantedImage[],
  options: ResolveOptions & { onFailure: (image: WantedImage, error: unknown) => void }
): Promise<LayoutContent[]> {
  const resolver = new Resolver(options)
  const permits = createSemaphore(options.atOnce)
  await Promise.all(
    wanted.map(image =>
      permits(async () => {
        if (options.signal.aborted) return
        await resolver.resolve(image).catch(error => options.onFailure(image, error))
      })
    )
  )
  options.signal.throwIfAborted()
  return resolver.layouts()
}

class Resolver {
  readonly #options: ResolveOptions
  readonly #layouts = new Map<string, Layout>()
  readonly #tags = new Map<Name, Promise<ReadonlySet<string> | undefined>>()
  /** Manifests whose referrers were asked for, by repository. */
  readonly #seen = new Set<string>()

  constructor(options: ResolveOptions) {
    this.#options = options
  }

  layouts(): LayoutContent[] {
    return [...this.#layouts.values()]
  }

  async resolve({ path, name, reference }: WantedImage): Promise<void> {
    const layout = this.#layout(path, name)
    const root = await this.#manifest(name, reference)
    const platforms = reference.tag === undefined ? [] : this.#options.platforms
    const taken = await this.#graph(layout, root, platforms)
    // As d8 does: what a digest names has its hex digits as its tag.
    const tag = reference.tag ?? encodedOf(reference.digest)
    if (isTag(tag)) this.#list(layout, taken, tag, reference)
  }

  #layout(path: string, name: Name): Layout {
    const known = this.#layouts.get(path) ?? { path, name, manifests: new Map(), blobs: new Map() }
    this.#layouts.set(path, known)
    return known
  }

  #list(layout: Layout, digest: Digest, tag: Tag, reference: Reference): void {
    const { from } = this.#options
    const place = layout.path === '' ? from : `${from}/${layout.path}`
    const text = reference.tag === undefined ? `${place}@${reference.digest}` : `${place}:${reference.tag}`
    const listed = layout.manifests.get(digest)?.listed
    if (listed && !listed.some(each => each.tag === tag)) listed.push({ tag, reference: text })
  }

  /**
   * Takes a manifest with everything below it; gives its digest in the bundle, which is another one without some
   * platforms.
   */
  async #graph(layout: Layout, root: Manifest, platforms: readonly string[]): Promise<Digest> {
    const { source, signal } = this.#options
    const { name } = layout
    const rewritten = new Map<Digest, Descriptor>()
    const digests: Digest[] = []
    await walkGraph(root, {
      order: 'children-first',
      platforms,
      signal,
      read: async ({ descriptor }, inner) => {
        const readBytes = async () => (await this.#manifest(name, { digest: descriptor.digest })).bytes
        return readChild({ source, name, descriptor, readManifest: readBytes, signal: inner })
      },
      visit: node => {
        if (node.kind === 'blob') this.#blob(layout, node)
        else digests.push(this.#take(layout, node, platforms, rewritten))
      }
    })
    const taken = rewritten.get(root.descriptor.digest)?.digest ?? root.descriptor.digest
    if (this.#options.referrers === 'take') for (const digest of digests) await this.#referrers(layout, digest)
    return taken
  }

  #blob({ blobs }: Layout, { descriptor: { digest, size }, nonDistributable }: BlobNode): void {
    if (!nonDistributable) blobs.set(digest, size)
  }

  #take({ manifests }: Layout, node: ManifestNode, platforms: readonly string[], rewritten: Map<Digest, Descriptor>): Digest {
    if (!node.parsed)
      throw new Error(`${node.descriptor.digest} is a manifest of an unknown kind (${mediaTypeOf(node.bytes)}), whose parts are not known`)
    const filtered = filterIndex(node, platforms, rewritten)
    const { bytes, descriptor } = filtered ?? node
    if (filtered) {
      if (readManifest(bytes)?.manifests.length === 0) throw new Error(`the index has nothing for ${platforms.join(', ')}`)
      rewritten.set(node.descriptor.digest, filtered.descriptor)
    }
    const { digest } = descriptor
    if (!manifests.has(digest)) manifests.set(digest, { bytes, mediaType: mediaTypeOf(bytes), digest, listed: [] })
    return digest
  }

  async #referrers(layout: Layout, subject: Digest): Promise<void> {
    const key = `${layout.name} ${subject}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    for (const { digest } of await this.#listReferrers(layout.name, subject)) {
      const root = await this.#manifest(layout.name, { digest })
      const tag = encodedOf(digest)
      const taken = await this.#graph(layout, root, [])
      if (isTag(tag)) this.#list(layout, taken, tag, { digest })
    }
    const tags = await this.#tagsOf(layout.name)
    for (const companion of companions) {
      const tag = `${subject.replace(':', '-')}.${companion}`
      if (!isTag(tag) || tags?.has(tag) === false) continue
      const root = await found(this.#manifest(layout.name, { tag }))
      if (root) this.#list(layout, await this.#graph(layout, root, []), tag, { tag })
    }
  }

  async #listReferrers(name: Name, subject: Digest): Promise<Descriptor[]> {
    const { source, patience, signal } = this.#options
    const all: Descriptor[] = []
    for (let last: string | undefined; ; ) {
      const page = last === undefined ? {} : { last }
      const { value } = await patience.run(() => source.listReferrers(name, subject, page, signal))
      all.push(...value.items)
      if (value.next === undefined || value.next === last) return all
      last = value.next
    }
  }

  /** Undefined where the source does not list them. */
  #tagsOf(name: Name): Promise<ReadonlySet<string> | undefined> {
    const { source, signal } = this.#options
    const known = this.#tags.get(name)
    if (known) return known
    const tags = Array.fromAsync(tagsOf(source, name, signal)).then(
      each => new Set(each),
      () => undefined
    )
    this.#tags.set(name, tags)
    return tags
  }

  async #manifest(name: Name, reference: Reference): Promise<Manifest> {
    const { source, patience, signal } = this.#options
    return (await patience.run(() => source.getManifest(name, reference, { signal }))).value
  }
}

/** A reference below the root as a person writes it: `install:v1.70.0`, `:v1.70.0`, `@sha256:…`. */
export function wantedText({ path, reference }: WantedImage): string {
  return `${path}${reference.digest === undefined ? ':' : '@'}${referenceText(reference)}`
}
