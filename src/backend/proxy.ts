import type { RedirectPolicy } from '../content/blobs.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name, Reference } from '../oci/name.ts'
import type { BlobLocation, BlobRequest, Manifest, OpenBlob, Page, PageRequest, Served } from '../oci/source.ts'
import type { Backend } from './backend.ts'
import { DirectBackend } from './direct.ts'
import { isNoAnswer } from './errors.ts'
import { ProxyBlobs } from './proxy-blobs.ts'
import { type CachePolicy, ProxyManifests } from './proxy-manifests.ts'
import type { UpstreamRoute } from './routes.ts'

/** Proxy mode: stored content, else the upstream's, which is stored on the way. */
export class ProxyBackend implements Backend {
  readonly mode = 'Proxy'
  readonly namespace: string | undefined
  readonly #content: Content
  readonly #route: UpstreamRoute
  readonly #blobs: ProxyBlobs
  readonly #manifests: ProxyManifests
  readonly #lists: DirectBackend

  constructor(
    content: Content,
    fills: Fills,
    route: UpstreamRoute,
    { cache, maxFills, redirect }: { cache: CachePolicy; maxFills: number; redirect?: RedirectPolicy | undefined }
  ) {
    this.#content = content
    this.#route = route
    this.namespace = route.namespace
    this.#blobs = new ProxyBlobs(content, fills, route, { maxFills, redirect })
    this.#manifests = new ProxyManifests(content, route, cache)
    this.#lists = new DirectBackend(route)
  }

  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    return this.#blobs.stat(name, digest, signal)
  }

  openBlob(name: Name, digest: Digest, want: BlobRequest & { redirect?: never }): Promise<Served<OpenBlob>>
  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>>
  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>> {
    return this.#blobs.open(name, digest, want)
  }

  // A HEAD promises that a GET succeeds, so the manifest is fetched; it is small.
  async statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>> {
    const served = await this.#manifests.get(name, reference, signal)
    return { ...served, value: served.value.descriptor }
  }

  async getManifest(name: Name, reference: Reference, { signal }: { signal: AbortSignal }): Promise<Served<Manifest>> {
    const served = await this.#manifests.get(name, reference, signal)
    this.#content.sizes.learn(served.value.descriptor.digest, served.value.bytes)
    return served
  }

  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    const own = this.#route.contentName(name)
    return this.#listed(this.#lists.listTags(name, page, signal), async () =>
      (await this.#content.names.has(own)) ? this.#content.tags.list(own, page) : undefined
    )
  }

  listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>> {
    return this.#listed(this.#lists.listReferrers(name, subject, want, signal), () =>
      this.#content.referrers.list(this.#route.contentName(name), subject, want)
    )
  }

  listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return this.#listed(this.#lists.listNames(page, signal), () => this.#cachedNames(page))
  }

  // Names of other upstreams are left out before the page is cut.
  async #cachedNames({ n, last = '' }: PageRequest): Promise<Page<string>> {
    const { items } = await this.#content.names.list({})
    const names = items.flatMap(each => this.#route.nameOfContent(each) ?? []).filter(each => each > last)
    const page = names.slice(0, n)
    const end = page.at(-1)
    return page.length < names.length && end !== undefined ? { items: page, next: end } : { items: page }
  }

  // If upstream fails, the list of what is cached is served as stale. If nothing is cached, upstream's error is thrown.
  async #listed<T>(fromUpstream: Promise<Served<Page<T>>>, cached: () => Promise<Page<T> | undefined>): Promise<Served<Page<T>>> {
    try {
      return await fromUpstream
    } catch (error) {
      const { cause } = error as Error
      if (!isNoAnswer(cause)) throw error
      const value = await cached()
      if (!value) throw error
      return { value, outcome: 'stale', warning: `only what is cached: ${cause.message}` }
    }
  }
}
