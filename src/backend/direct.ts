import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { isName, type Name, type Reference, referenceText } from '../oci/name.ts'
import { type RangeRequest, resolveRange } from '../oci/range.ts'
import type { Manifest, OpenBlob, Page, PageRequest, Served } from '../oci/source.ts'
import { streamBody } from '../upstream/stream-body.ts'
import type { UpstreamBody } from '../upstream/upstream.ts'
import type { Backend } from './backend.ts'
import { toOciError } from './errors.ts'
import { unknownBlob } from './find.ts'
import type { UpstreamRoute } from './route.ts'

/** Every request passes through to upstream; nothing is stored. */
export class DirectBackend implements Backend {
  readonly mode = 'Direct'
  readonly #route: UpstreamRoute

  constructor(route: UpstreamRoute) {
    this.#route = route
  }

  statBlob(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    return this.#ask(
      name,
      () => unknownBlob(name, digest),
      async (upstream, there) => {
        const { size } = await upstream.statBlob(there, digest, signal)
        if (size === undefined) throw unknownSize()
        return { mediaType: mediaTypes.blob, digest, size }
      }
    )
  }

  openBlob(name: Name, digest: Digest, want: { range?: RangeRequest; signal: AbortSignal }): Promise<Served<OpenBlob>> {
    return this.#ask(
      name,
      () => unknownBlob(name, digest),
      (upstream, there) => openThrough(upstream, there, digest, want)
    )
  }

  async statManifest(name: Name, reference: Reference, signal: AbortSignal): Promise<Served<Descriptor>> {
    return this.#ask(
      name,
      () => unknownManifest(name, reference),
      (upstream, there) => upstream.statManifest(there, referenceText(reference), signal)
    )
  }

  getManifest(name: Name, reference: Reference, { signal }: { signal: AbortSignal }): Promise<Served<Manifest>> {
    return this.#ask(
      name,
      () => unknownManifest(name, reference),
      async (upstream, there) => {
        const answer = await upstream.getManifest(there, referenceText(reference), { signal })
        if (answer === 'not-modified')
          throw new OciError('UNAVAILABLE', { status: 502, detail: { reason: 'upstream answered 304 to a request without a condition' } })
        return answer
      }
    )
  }

  listTags(name: Name, page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    return this.#ask(
      name,
      () => unknownName(name),
      (upstream, there) => upstream.listTags(there, page, signal)
    )
  }

  listReferrers(
    name: Name,
    subject: Digest,
    want: PageRequest & { artifactType?: string },
    signal: AbortSignal
  ): Promise<Served<Page<Descriptor>>> {
    return this.#ask(
      name,
      () => unknownName(name),
      (upstream, there) => upstream.listReferrers(there, subject, want, signal)
    )
  }

  async listNames(page: PageRequest, signal: AbortSignal): Promise<Served<Page<string>>> {
    const { upstream, upstreamName, localName } = this.#route
    // What is no name here is a cursor that we gave ourselves.
    const last = page.last !== undefined && isName(page.last) ? (upstreamName(page.last) ?? page.last) : page.last
    try {
      const { items, next } = await upstream.listNames({ ...page, ...(last === undefined ? {} : { last }) }, signal)
      const names = items.flatMap(each => localName(each) ?? [])
      return { value: next === undefined ? { items: names } : { items: names, next: localName(next) ?? next }, outcome: 'bypass' }
    } catch (error) {
      throw toOciError(error, () => new OciError('UNSUPPORTED', { status: 404, detail: { reason: 'upstream has no catalog' } }))
    }
  }

  async #ask<T>(
    name: Name,
    unknown: () => OciError,
    ask: (upstream: UpstreamRoute['upstream'], there: string) => Promise<T>
  ): Promise<Served<T>> {
    const there = this.#route.upstreamName(name)
    if (there === undefined) throw unknownName(name)
    try {
      return { value: await ask(this.#route.upstream, there), outcome: 'bypass' }
    } catch (error) {
      throw toOciError(error, unknown)
    }
  }
}

/** A body of upstream as it comes; verified on the way where all of it was asked for. */
export async function openThrough(
  upstream: UpstreamRoute['upstream'],
  there: string,
  digest: Digest,
  { range, signal }: { range?: RangeRequest; signal: AbortSignal }
): Promise<OpenBlob> {
  const body = await upstream.openBlob(there, digest, { signal, ...(range ? { range } : {}) })
  if (!range || body.size !== undefined) return passThrough(body, digest, range)
  // Without a size there is no answering a range: the whole is sent, as RFC 9110 §14.2 allows.
  body.cancel()
  return passThrough(await upstream.openBlob(there, digest, { signal }), digest, undefined)
}

function passThrough(body: UpstreamBody, digest: Digest, range: RangeRequest | undefined): OpenBlob {
  const { size } = body
  if (size === undefined) return { size, part: { offset: 0, length: Number.POSITIVE_INFINITY }, body: streamBody(body, digest) }
  const part = range ? resolveRange(range, size) : { offset: 0, length: size }
  return { size, part, body: streamBody(body, part?.length === size ? digest : undefined) }
}

/** Upstream says that there is no such manifest. */
export function unknownManifest(name: Name, reference: Reference): OciError {
  return new OciError('MANIFEST_UNKNOWN', { detail: { name, reference: referenceText(reference) } })
}

/** The name is none of upstream's. */
export function unknownName(name: Name): OciError {
  return new OciError('NAME_UNKNOWN', { detail: { name } })
}

/** A head has to tell the size, and upstream does not. */
export function unknownSize(): OciError {
  return new OciError('UNAVAILABLE', { status: 502, detail: { reason: 'upstream does not tell the size of the blob' } })
}
