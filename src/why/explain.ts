import { ownPlatform } from '../oci/platform.ts'
import { MalformedReference, type PodReference, parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import { adviceFor, type Circumstances } from './advice.ts'
import { inspectDisk } from './disk.ts'
import { expiredIn } from './expired.ts'
import { ImageInspection } from './image.ts'
import type { InspectionDepth } from './inspect.ts'
import { similarTags } from './near.ts'
import { probeUpstream, servesStale, type UpstreamProbe } from './probe.ts'
import type { Cause, PullRoute, Report } from './report.ts'
import { type ResolvedReference, resolveReference, type WhyContext } from './resolve.ts'
import { findStoredCopy, type StoredCopy } from './stored-reference.ts'
import { type Evidence, judge } from './verdict.ts'

/** How a reference is explained. */
export interface ExplainOptions {
  /** `size` leaves out the digests of stored blobs. */
  depth: 'size' | 'digest'
  signal: AbortSignal
}

// Whoever asks waits in front of a terminal.
const longest = 60_000
const longestDigests = 20_000
const tagsRead = 10_000

/** Why a pull of `text` works or does not, from this process's own view. Nothing is stored, filled or marked. */
export async function explain(text: string, view: WhyContext, { depth, signal }: ExplainOptions): Promise<Report> {
  let asked: PodReference
  try {
    asked = parsePodReference(text)
  } catch (error) {
    if (error instanceof MalformedReference) return refused(text, 'malformed-reference', view, { fault: error.message })
    throw error
  }
  const place = resolveReference(asked, view)
  if (place === 'unknown-host') return refused(text, 'unknown-host', view)
  const route = routeOf(place, view)
  if (place.upstream && route.upstreamName === undefined) return refused(text, 'outside-path', view, {}, route)
  const limits = {
    signal: AbortSignal.any([signal, AbortSignal.timeout(longest)]),
    depth: depth === 'size' ? ('size' as const) : { until: AbortSignal.any([signal, AbortSignal.timeout(longestDigests)]) }
  }
  return new Explanation(text, asked, { view, place, route, ...limits }).report()
}

function refused(text: string, cause: Cause, view: WhyContext, more: Partial<Circumstances> = {}, route?: PullRoute): Report {
  const report = { reference: text, works: false, cause, ...(route ? { route } : {}) }
  return { ...report, advice: adviceFor(report, { ...circumstances(text, view), ...more }) }
}

class Explanation {
  readonly #text: string
  readonly #asked: PodReference
  readonly #view: WhyContext
  readonly #place: ResolvedReference
  readonly #route: PullRoute
  readonly #depth: InspectionDepth
  readonly #signal: AbortSignal

  constructor(
    text: string,
    asked: PodReference,
    {
      view,
      place,
      route,
      depth,
      signal
    }: { view: WhyContext; place: ResolvedReference; route: PullRoute; depth: InspectionDepth; signal: AbortSignal }
  ) {
    this.#text = text
    this.#asked = asked
    this.#view = view
    this.#place = place
    this.#route = route
    this.#depth = depth
    this.#signal = signal
  }

  async report(): Promise<Report> {
    const { upstream: behind } = this.#place
    const [disk, kept, question] = await Promise.all([
      inspectDisk(this.#view),
      findStoredCopy(this.#view, this.#place, this.#asked.reference, this.#depth),
      this.#question()
    ])
    const served = this.#served(kept, question)
    const absence = behind ? { cause: question?.cause, near: question?.near } : served ? {} : await this.#localAbsence()
    const image = new ImageInspection(this.#view, this.#place, { depth: this.#depth, signal: this.#signal })
    const lines = served && (await image.lines(served.manifest, served.from === 'upstream' ? 'upstream' : 'here'))
    const evidence: Evidence = {
      mode: this.#place.mode,
      ...(served ? { from: served.from } : {}),
      ...(absence.cause ? { absent: absence.cause } : {}),
      ...(kept ? { stored: kept.stored } : {}),
      lines: lines ?? [],
      ...(image.upstreamError ? { fault: image.upstreamError } : {}),
      disk,
      platform: ownPlatform(process.arch)
    }
    const report = {
      reference: this.#text,
      ...judge(evidence),
      route: this.#route,
      ...(kept ? { stored: kept.stored } : {}),
      ...(question ? { upstream: withFault(question, image) } : {}),
      ...(served ? { manifest: { ...brief(served.manifest), from: served.from } } : {}),
      ...(lines ? { manifests: lines } : {}),
      ...(absence.near && absence.near.length > 0 ? { near: absence.near } : {}),
      disk
    }
    const error = question?.error ?? image.upstreamError
    const { retryAfter } = error ?? {}
    const pause = retryAfter === undefined ? {} : { retryAfter }
    return { ...report, advice: adviceFor(report, { ...circumstances(this.#text, this.#view, this.#place, error?.endpoint), ...pause }) }
  }

  async #question(): Promise<UpstreamProbe | undefined> {
    const { upstream: behind } = this.#place
    const there = this.#route.upstreamName
    return behind && there !== undefined ? probeUpstream(behind, there, this.#asked.reference, this.#signal) : undefined
  }

  #served(
    kept: StoredCopy | undefined,
    question: UpstreamProbe | undefined
  ): { manifest: Manifest; from: NonNullable<Evidence['from']> } | undefined {
    const { manifest: own, stored, freshness } = kept ?? {}
    if (own && (!this.#place.upstream || freshness === 'fresh')) return { manifest: own, from: 'store' }
    if (question?.manifest) {
      const same = own?.descriptor.digest === question.manifest.descriptor.digest
      return { manifest: question.manifest, from: same ? 'store' : 'upstream' }
    }
    const { onUpstreamNotFound } = this.#view.config.cache
    const origin = stored?.origin === 'pushed' ? 'pushed' : 'cached'
    if (own && question?.error && servesStale(question.error, onUpstreamNotFound, origin))
      return { manifest: own, from: 'store, as the last known' }
    return undefined
  }

  async #localAbsence(): Promise<{ cause: Cause; near?: string[] }> {
    const { content } = this.#view
    const { tag } = this.#asked.reference
    const { name } = this.#place
    if (!(await content.names.has(name))) return { cause: 'repository-unknown' }
    if (tag === undefined) return { cause: 'manifest-unknown' }
    return { cause: 'tag-unknown', near: similarTags((await content.tags.list(name, { n: tagsRead })).items, tag) }
  }
}

// When the manifest was had and a blob was not, the blob's story is the one to tell.
function withFault({ asking, error }: UpstreamProbe, { upstreamError: fault }: ImageInspection): UpstreamProbe['asking'] {
  return error || !fault ? asking : { ...asking, told: fault.message }
}

function brief({ descriptor }: Manifest): { digest: string; mediaType: string; size: number } {
  const { digest, mediaType, size } = descriptor
  return { digest, mediaType, size }
}

function routeOf({ mode, name, storedName: stored, upstream: behind }: ResolvedReference, { config }: WhyContext): PullRoute {
  const upstreamName = behind?.route.upstreamName(name)
  return {
    mode,
    name,
    ...(stored !== name && mode === 'Proxy' ? { storedAs: stored } : {}),
    ...(behind ? { upstream: behind.route.origin } : {}),
    ...(upstreamName === undefined ? {} : { upstreamName }),
    anonymousPull: config.auth.anonymous.includes('pull') ? 'allowed' : 'refused'
  }
}

function circumstances(reference: string, { config }: WhyContext, place?: ResolvedReference, endpoint?: string): Circumstances {
  const settings = place?.upstream?.settings
  const expired = settings?.ca === undefined ? undefined : expiredIn(settings.ca)
  return {
    reference,
    endpoint: endpoint || (settings?.endpoints[0] ? new URL(settings.endpoints[0]).host : ''),
    section: place?.upstream?.section ?? 'registry',
    imagesRepo: settings ? [settings.host, settings.path].filter(part => part !== '').join('/') : '',
    path: config.server.path,
    hosts: [...config.server.names, ...Object.keys(config.registry.upstreams)],
    ...(expired ? { expired } : {})
  }
}
