import type { RedirectPolicy } from '../content/blobs.ts'
import type { Content } from '../content/content.ts'
import type { Fill } from '../content/fill/fill.ts'
import type { Fills } from '../content/fill/fills.ts'
import { type Descriptor, mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { resolveRange } from '../oci/range.ts'
import type { BlobLocation, BlobRequest, Body, OpenBlob, Outcome, Served } from '../oci/source.ts'
import { abortable } from '../upstream/single-flight.ts'
import { isTimeoutReason, ociErrorOf, timeoutError, unknownBlob, unknownName, unknownSize } from './errors.ts'
import { fallbackBody, isStorageError, orFallback } from './fallback-body.ts'
import type { UpstreamRoute } from './routes.ts'

// A range that the fill would reach only later than this is fetched by itself, uncached. containerd requests several
// distant ranges at once, and waits minutes for bytes.
const maxWaitMs = 60_000
const measureAfterMs = 2_000

/** The clock (ms since the epoch), and how long a client waits for the head of a response, in ms. */
export interface ProxyTimes {
  now: () => number
  timeoutMs: number
}

/** containerd gives up if no head has come 30 s after its request. */
export const defaultTimes: ProxyTimes = { now: Date.now, timeoutMs: 25_000 }

const notCached = (error: Error) =>
  `not cached: ${'code' in error && error.code === 'EDQUOT' ? 'it does not fit' : 'the storage takes nothing'}`

// For a blob of unknown size: the response ends where the blob does, and a range cannot be answered.
const endless = { offset: 0, length: Number.POSITIVE_INFINITY }

/** Blobs of a cache: from the storage, else from a fill that all readers of the blob share. */
export class ProxyBlobs {
  readonly #content: Content
  readonly #fills: Fills
  readonly #route: UpstreamRoute
  readonly #maxFills: number
  readonly #redirect: RedirectPolicy | undefined
  readonly #times: ProxyTimes

  constructor(
    content: Content,
    fills: Fills,
    route: UpstreamRoute,
    { maxFills, redirect }: { maxFills: number; redirect?: RedirectPolicy | undefined },
    times: ProxyTimes = defaultTimes
  ) {
    this.#content = content
    this.#fills = fills
    this.#route = route
    this.#maxFills = maxFills
    this.#redirect = redirect
    this.#times = times
  }

  /** Starts no fill, since a HEAD does not need the body. */
  async stat(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    this.#upstreamName(name)
    const own = this.#route.contentName(name)
    return orFallback(
      () => this.#stat(name, own, digest, signal),
      () => this.#statThere(name, digest, signal)
    )
  }

  async #stat(name: Name, own: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    const stored = await this.#content.blobs.stat(own, digest)
    if (stored !== undefined) return { value: { mediaType: mediaTypes.blob, digest, size: stored }, outcome: 'hit' }
    const fill = this.#fills.find(digest)
    if (fill?.allows(own) && fill.size !== undefined)
      return { value: { mediaType: mediaTypes.blob, digest, size: fill.size }, outcome: 'join' }
    return this.#statThere(name, digest, signal)
  }

  async #statThere(name: Name, digest: Digest, signal: AbortSignal): Promise<Served<Descriptor>> {
    const size = await this.#permitted(name, digest, signal)
    if (size === undefined) throw unknownSize()
    return { value: { mediaType: mediaTypes.blob, digest, size }, outcome: 'bypass' }
  }

  /** After an I/O error of the storage the blob comes from upstream, uncached. */
  open(name: Name, digest: Digest, want: BlobRequest & { redirect?: never }): Promise<Served<OpenBlob>>
  open(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>>
  open(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>> {
    return orFallback(
      () => this.#open(name, digest, want),
      () => this.#bypass(name, digest, want)
    )
  }

  async #open(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob | BlobLocation>> {
    const own = this.#route.contentName(name)
    const there = this.#upstreamName(name)
    for (let granted = false; ; ) {
      const stored = await this.#stored(own, digest, want)
      if (stored) {
        this.#content.lastAccess.record(own, digest)
        if ('location' in stored) return { value: stored, outcome: 'hit' }
        return { value: { ...stored, body: fallbackBody(stored.body, this.#reopen(name, digest, want.signal)) }, outcome: 'hit' }
      }
      const running = this.#fills.find(digest)
      // The bytes came by another name: upstream has to say that this name may read them.
      if (running) {
        if (!running.allows(own)) {
          await this.#permitted(name, digest, want.signal)
          running.allow(own)
          continue
        }
      } else if (!granted && (await this.#content.blobs.stored(digest))) {
        await this.#grant(name, own, digest, want.signal)
        granted = true
        continue
      }
      // Single-flight: nothing is awaited between this lookup and the start.
      const joined = this.#fills.find(digest)
      if (joined && !joined.allows(own)) continue
      const fill = joined ?? this.#start(own, there, digest)
      return fill ? this.#read(fill, name, digest, want, joined ? 'join' : 'miss') : this.#bypass(name, digest, want)
    }
  }

  #stored(own: Name, digest: Digest, { range, redirect }: BlobRequest): Promise<OpenBlob | BlobLocation | undefined> {
    const { blobs } = this.#content
    return redirect && this.#redirect ? blobs.openOrLocate(own, digest, { ...this.#redirect, range }) : blobs.open(own, digest, range)
  }

  // Links stored bytes to `name`. A link that exists already leads to damaged bytes, or its fill has just ended.
  async #grant(name: Name, own: Name, digest: Digest, signal: AbortSignal): Promise<void> {
    if (await this.#content.blobs.linked(own, digest)) return
    await this.#permitted(name, digest, signal)
    const { blobs, commit, holds } = this.#content
    await holds.during(digest, async () => {
      // The bytes may have been removed meanwhile.
      if (await blobs.stored(digest)) await commit.linkBlob(own, digest, { upstream: this.#route.origin })
    })
  }

  #start(own: Name, there: string, digest: Digest): Fill | undefined {
    const { upstream, origin } = this.#route
    return this.#fills.start({ digest, name: own, upstream: origin, maxFills: this.#maxFills }, signal =>
      upstream.streamBlob(there, digest, { signal })
    )
  }

  #upstreamName(name: Name): string {
    const there = this.#route.upstreamName(name)
    if (there === undefined) throw unknownName(name)
    return there
  }

  async #read(fill: Fill, name: Name, digest: Digest, want: BlobRequest, outcome: Outcome): Promise<Served<OpenBlob>> {
    const { range, signal } = want
    let size: number | undefined
    try {
      size = await abortable(fill.opened, AbortSignal.any([signal, AbortSignal.timeout(this.#times.timeoutMs)]))
    } catch (error) {
      // Upstream responded, but the storage takes nothing.
      if (isStorageError(error)) return { ...(await this.#bypass(name, digest, want)), warning: notCached(error) }
      throw isTimeoutReason(error) ? timeoutError(this.#route.origin) : ociErrorOf(error, () => unknownBlob(name, digest))
    }
    const part = size === undefined ? endless : range ? resolveRange(range, size) : { offset: 0, length: size }
    if (part && this.#tooFar(fill, part.offset)) return this.#bypass(name, digest, want)
    return { value: { size, part, body: fallbackBody(fill.reader(signal), this.#reopen(name, digest, signal)) }, outcome }
  }

  // The whole blob from upstream, for a reader whose storage failed in the middle.
  #reopen(name: Name, digest: Digest, signal: AbortSignal): () => Promise<Body> {
    return async () => (await this.#route.upstream.openBlob(this.#upstreamName(name), digest, { signal })).value.body
  }

  #tooFar(fill: Fill, offset: number): boolean {
    const elapsed = this.#times.now() - fill.startedAt
    if (elapsed < measureAfterMs || offset <= fill.offset) return false
    return (offset - fill.offset) / (fill.offset / elapsed) > maxWaitMs
  }

  async #bypass(name: Name, digest: Digest, want: BlobRequest): Promise<Served<OpenBlob>> {
    const there = this.#upstreamName(name)
    try {
      return await this.#route.upstream.openBlob(there, digest, want)
    } catch (error) {
      throw ociErrorOf(error, () => unknownBlob(name, digest))
    }
  }

  async #permitted(name: Name, digest: Digest, signal: AbortSignal): Promise<number | undefined> {
    const there = this.#upstreamName(name)
    try {
      return (await this.#route.upstream.checkBlob(there, digest, signal)).size
    } catch (error) {
      throw ociErrorOf(error, () => unknownBlob(name, digest))
    }
  }
}
