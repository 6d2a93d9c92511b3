import { LRUCache } from 'lru-cache'
import type { TagState } from '../content/commit.ts'
import type { Content } from '../content/content.ts'
import { mediaTypes } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { OciError } from '../oci/errors.ts'
import { type Name, type Reference, referenceText, type Tag } from '../oci/name.ts'
import type { Manifest, Served } from '../oci/source.ts'
import { UpstreamError } from '../upstream/error.ts'
import type { UpstreamManifest } from '../upstream/manifests.ts'
import { SingleFlight } from '../upstream/single-flight.ts'
import { isNoAnswer, isTimeoutReason, ociErrorOf, timeoutError, unknownManifest, unknownName } from './errors.ts'
import { isStorageError, orFallback } from './fallback-body.ts'
import { defaultTimes, type ProxyTimes } from './proxy-blobs.ts'
import type { UpstreamRoute } from './routes.ts'

/** How a cache treats tags; times in ms. */
export interface CachePolicy {
  /** How long a tag is served without revalidation. */
  tagTTL: number
  /** What a 404 from upstream does to a cached tag: `serve` it stale, or `forget` it. */
  onUpstreamNotFound: 'serve' | 'forget'
  /** How long a 404 is cached. */
  negativeTTL: number
}

// So that tags that were cached together are not revalidated together: a fraction of the TTL.
const jitter = 0.1
// How long a cached tag is served stale after upstream failed, before the next request.
const faultBackoffMs = 5_000

// The cached state before a request to upstream: `known` for a conditional request, `seen` so that a push meanwhile
// wins.
interface KnownState {
  known?: { manifest: Manifest; etag: string | undefined }
  seen?: TagState
}

/** Manifests of a cache: by digest fetched once, by tag revalidated as the policy says. */
export class ProxyManifests {
  readonly #content: Content
  readonly #route: UpstreamRoute
  readonly #policy: CachePolicy
  readonly #times: ProxyTimes
  readonly #flights = new SingleFlight<Served<Manifest>>()
  readonly #absent: LRUCache<string, true>
  /** Tags whose upstream failed, with the time of the next request in ms since the epoch. */
  readonly #backoff = new LRUCache<string, { until: number; reason: string }>({ max: 10_000 })

  constructor(content: Content, route: UpstreamRoute, policy: CachePolicy, times: ProxyTimes = defaultTimes) {
    this.#content = content
    this.#route = route
    this.#policy = policy
    this.#times = times
    this.#absent = new LRUCache({ max: 10_000, ttl: Math.max(1, policy.negativeTTL) })
  }

  get #now(): () => number {
    return this.#times.now
  }

  /** The signal ends the waiting for upstream, and not the request that others may wait for too. */
  async get(name: Name, reference: Reference, signal?: AbortSignal): Promise<Served<Manifest>> {
    const served = await orFallback(
      () => this.#get(name, reference, signal),
      () => this.#bypass(name, reference, signal)
    )
    this.#content.lastAccess.record(this.#route.contentName(name), served.value.descriptor.digest)
    return served
  }

  async #get(name: Name, reference: Reference, signal: AbortSignal | undefined): Promise<Served<Manifest>> {
    if (this.#route.upstreamName(name) === undefined) throw unknownName(name)
    const key = `${name} ${referenceText(reference)}`
    const stored = reference.tag === undefined ? await this.#stored(name, reference.digest) : await this.#fresh(name, reference.tag)
    if (stored) return stored
    if (this.#absent.has(key)) return this.#cached404(name, reference)
    const { tag } = reference
    const task = () => (tag === undefined ? this.#fetch(name, reference) : this.#revalidate(name, tag))
    const { value, joined } = await this.#flights.run(key, task, signal)
    return joined && value.outcome === 'miss' ? { ...value, outcome: 'join' } : value
  }

  // After an I/O error of the storage: nothing is read or stored.
  async #bypass(name: Name, reference: Reference, signal: AbortSignal | undefined): Promise<Served<Manifest>> {
    const task = async (): Promise<Served<Manifest>> => {
      const answer = await this.#ask(name, reference)
      if (answer === 'not-modified') throw unexpected304()
      return { value: { descriptor: answer.descriptor, bytes: answer.bytes }, outcome: 'bypass', age: 0 }
    }
    return (await this.#flights.run(`past ${name} ${referenceText(reference)}`, task, signal)).value
  }

  async #stored(name: Name, digest: Digest): Promise<Served<Manifest> | undefined> {
    const value = await this.#content.manifests.get(this.#route.contentName(name), digest)
    return value && { value, outcome: 'hit' }
  }

  async #fresh(name: Name, tag: Tag): Promise<Served<Manifest> | undefined> {
    const { content, origin } = await this.#local(name, tag)
    if (!content) return undefined
    const age = origin && this.#now() - origin.checked
    const same = origin?.upstream === this.#route.origin && origin.digest === content.descriptor.digest
    if (same && age !== undefined && age < this.#policy.tagTTL * (1 - jitter * hashFraction(tag)))
      return { value: content, outcome: 'hit', age: age / 1_000 }
    const rest = this.#backoff.get(`${name} ${tag}`)
    return rest && this.#now() < rest.until ? this.#stale(content, age, rest.reason) : undefined
  }

  async #local(name: Name, tag: Tag) {
    const own = this.#route.contentName(name)
    const digest = await this.#content.tags.resolve(own, tag)
    const found = digest && (await this.#content.manifests.get(own, digest))
    // A page that was once taken for a manifest is not the last good answer.
    const content = found?.descriptor.mediaType === mediaTypes.blob ? undefined : found
    return { digest, content, origin: await this.#content.provenance.getTag(own, tag) }
  }

  // One conditional request for all that wait.
  async #revalidate(name: Name, tag: Tag): Promise<Served<Manifest>> {
    const { digest, content, origin } = await this.#local(name, tag)
    const same = origin?.upstream === this.#route.origin && origin.digest === content?.descriptor.digest
    const known = same ? { manifest: content, etag: origin.etag } : undefined
    try {
      return await this.#fetch(name, { tag }, { seen: { digest, provenance: origin }, ...(known ? { known } : {}) })
    } catch (error) {
      if (!content) throw error
      const age = origin ? this.#now() - origin.checked : undefined
      const cause = error instanceof OciError ? error.cause : error
      if (isNoAnswer(cause)) {
        const until = this.#now() + Math.max(faultBackoffMs, cause.retryAfter ?? 0)
        this.#backoff.set(`${name} ${tag}`, { until, reason: cause.message })
        return this.#stale(content, age, cause.message)
      }
      if (!(cause instanceof UpstreamError) || cause.kind !== 'not-found') throw error
      if (this.#policy.onUpstreamNotFound === 'serve' || !origin) return this.#stale(content, age, 'upstream no longer has this tag')
      if (await this.#content.commit.removeCachedTag(this.#route.contentName(name), tag)) throw error
      return this.#stale(content, age, 'upstream no longer has this tag')
    }
  }

  #stale(value: Manifest, age: number | undefined, reason: string): Served<Manifest> {
    return { value, outcome: 'stale', warning: `stale: ${reason}`, ...(age === undefined ? {} : { age: age / 1_000 }) }
  }

  // The cached 404 only saves a request: a cached tag is served as after a new 404.
  async #cached404(name: Name, reference: Reference): Promise<Served<Manifest>> {
    if (reference.tag !== undefined) {
      const { content, origin } = await this.#local(name, reference.tag)
      // Pushed content does not depend on upstream.
      if (content && (this.#policy.onUpstreamNotFound === 'serve' || !origin))
        return this.#stale(content, origin && this.#now() - origin.checked, 'upstream no longer has this tag')
    }
    throw unknownManifest(name, reference)
  }

  // Several clients may wait for one request, so that it has a time limit of its own and not their signals.
  async #fetch(name: Name, reference: Reference, { known, seen }: KnownState = {}): Promise<Served<Manifest>> {
    const answer = await this.#ask(name, reference, known && conditionOf(known))
    if (answer !== 'not-modified') return await this.#store(name, reference, answer, seen)
    if (!known) throw unexpected304()
    await this.#renew(name, reference, known.manifest.descriptor.digest, known.etag)
    return { value: known.manifest, outcome: 'hit', age: 0 }
  }

  async #ask(
    name: Name,
    reference: Reference,
    condition?: { ifNoneMatch: string; known: Digest }
  ): Promise<UpstreamManifest | 'not-modified'> {
    const there = this.#route.upstreamName(name)
    if (there === undefined) throw unknownName(name)
    const want = { signal: AbortSignal.timeout(this.#times.timeoutMs), ...condition }
    try {
      return await this.#route.upstream.fetchManifest(there, reference, want)
    } catch (error) {
      if (error instanceof UpstreamError && error.kind === 'not-found' && this.#policy.negativeTTL > 0) {
        this.#absent.set(`${name} ${referenceText(reference)}`, true)
      }
      if (isTimeoutReason(error)) throw timeoutError(this.#route.origin)
      throw ociErrorOf(
        error,
        () => new OciError('MANIFEST_UNKNOWN', { detail: { name, reference: referenceText(reference) }, cause: error })
      )
    }
  }

  async #store(name: Name, reference: Reference, answer: UpstreamManifest, seen?: TagState): Promise<Served<Manifest>> {
    const { descriptor, bytes, document } = answer
    const own = this.#route.contentName(name)
    const subject = document.parsed?.subject?.digest
    const origin = this.#provenance(descriptor.digest, answer.etag)
    const tags = reference.tag === undefined ? [] : [reference.tag]
    try {
      const known = { document, ...(subject ? { subject } : {}), ...(seen ? { expected: seen } : {}) }
      await this.#content.commit.putManifest(own, descriptor.digest, bytes, { tags, provenance: origin, ...known })
      this.#backoff.delete(`${name} ${referenceText(reference)}`)
      return { value: { descriptor, bytes }, outcome: 'miss', age: 0 }
    } catch (error) {
      // The manifest can be served although it could not be stored.
      if (!isStorageError(error)) throw error
      return { value: { descriptor, bytes }, outcome: 'bypass', age: 0 }
    }
  }

  async #renew(name: Name, reference: Reference, digest: Digest, etag: string | undefined): Promise<void> {
    if (reference.tag === undefined) return
    const own = this.#route.contentName(name)
    await this.#content.commit.renewCachedTag(own, reference.tag, this.#provenance(digest, etag)).catch(() => {})
    this.#backoff.delete(`${name} ${reference.tag}`)
  }

  #provenance(digest: Digest, etag: string | undefined) {
    return { upstream: this.#route.origin, digest, checked: this.#now(), ...(etag === undefined ? {} : { etag }) }
  }
}

function conditionOf({ manifest: { descriptor }, etag }: NonNullable<KnownState['known']>): { ifNoneMatch: string; known: Digest } {
  return { ifNoneMatch: etag ?? `"${descriptor.digest}"`, known: descriptor.digest }
}

function unexpected304(): OciError {
  return new OciError('UNAVAILABLE', { status: 502, detail: { reason: 'upstream answered 304 to a request without a condition' } })
}

// From 0 to 1, always the same for a tag.
function hashFraction(tag: Tag): number {
  let sum = 0
  for (const char of tag) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 1009
  return sum / 1009
}
