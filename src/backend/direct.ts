import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { isName, type Name, type Reference } from '../oci/name.ts'
import type { BlobRequest, Manifest, OpenBlob, Page, PageRequest, Served } from '../oci/source.ts'
import type { Backend } from './backend.ts'
import { ociErrorOf, unknownBlob, unknownManifest, unknownName } from './errors.ts'
import type { UpstreamRoute } from './routes.ts'

/** Passes each request to the upstream under the upstream's name, and translates its errors. Nothing is stored. */
export class DirectBackend implements Backend {
  readonly mode = 'Direct'
  readonly namespace: string | undefined
  readonly #route: UpstreamRoute

  constructor(route: UpstreamRoute) {
    this.#route = route
    this.namespace = route.namespace
  }

  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    const { upstream } = this.#route
    return this.#pass(
      name,
      () => unknownBlob(name, digest),
      there => upstream.statBlob(there, digest, signal)
    )
  }

  openBlob(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob>> {
    const { upstream } = this.#route
    return this.#pass(
      name,
      () => unknownBlob(name, digest),
      there => upstream.openBlob(there, digest, want)
    )
  }

  statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>> {
    const { upstream } = this.#route
    return this.#pass(
      name,
      () => unknownManifest(name, reference),
      there => upstream.statManifest(there, reference, signal)
    )
  }

  getManifest(name: Name, reference: Reference, want: { signal: AbortSignal }): Promise<Served<Manifest>> {
    const { upstream } = this.#route
    return this.#pass(
      name,
      () => unknownManifest(name, reference),
      there => upstream.getManifest(there, reference, want)
    )
  }

  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    const { upstream } = this.#route
    return this.#pass(
      name,
      () => unknownName(name),
      there => upstream.listTags(there, page, signal)
    )
  }

  async listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>> {
    const { upstream, upstreamName } = this.#route
    if (upstreamName(name) === undefined) return { value: { items: [] }, outcome: 'bypass' }
    return this.#pass(
      name,
      () => unknownName(name),
      there => upstream.listReferrers(there, subject, want, signal)
    )
  }

  async listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    const { upstream, upstreamName, localName } = this.#route
    // A `last` that is no name here is a cursor that an earlier page returned.
    const last = page.last !== undefined && isName(page.last) ? (upstreamName(page.last) ?? page.last) : page.last
    try {
      const served = await upstream.listNames({ ...page, ...(last === undefined ? {} : { last }) }, signal)
      const { items, next } = served.value
      const names = items.flatMap(each => localName(each) ?? [])
      return { ...served, value: next === undefined ? { items: names } : { items: names, next: localName(next) ?? next } }
    } catch (error) {
      throw ociErrorOf(error, () => new OciError('UNSUPPORTED', { status: 404, detail: { reason: 'upstream has no catalog' } }))
    }
  }

  async #pass<T>(name: Name, unknown: () => OciError, request: (there: string) => Promise<T>): Promise<T> {
    const there = this.#route.upstreamName(name)
    if (there === undefined) throw unknownName(name)
    try {
      return await request(there)
    } catch (error) {
      throw ociErrorOf(error, unknown)
    }
  }
}
