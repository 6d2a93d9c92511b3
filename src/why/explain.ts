import { ownPlatform } from '../oci/platform.ts'
import { MalformedReference, type PodReference, parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import { adviceFor, type Circumstances } from './advice.ts'
import { lookAtDisk } from './disk.ts'
import { expiredIn } from './expired.ts'
import { ImageLook } from './image.ts'
import type { Depth } from './inspect.ts'
import { nearest } from './near.ts'
import { askUpstream, type Question, servesStale } from './probe.ts'
import type { Cause, Report, Route } from './report.ts'
import { type Place, placeOf, type View } from './resolve.ts'
import { type Kept, keptOf } from './stored-reference.ts'
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
export async function explain(text: string, view: View, { depth, signal }: ExplainOptions): Promise<Report> {
  let asked: PodReference
  try {
    asked = parsePodReference(text)
  } catch (error) {
    if (error instanceof MalformedReference) return refused(text, 'malformed-reference', view, { fault: error.message })
    throw error
  }
  const place = placeOf(asked, view)
  if (place === 'unknown-host') return refused(text, 'unknown-host', view)
  const route = routeOf(place, view)
  if (place.behind && route.upstreamName === undefined) return refused(text, 'outside-path', view, {}, route)
  const limits = {
    signal: AbortSignal.any([signal, AbortSignal.timeout(longest)]),
    depth: depth === 'size' ? ('size' as const) : { until: AbortSignal.any([signal, AbortSignal.timeout(longestDigests)]) }
  }
  return new Explanation(text, asked, { view, place, route, ...limits }).report()
}

function refused(text: string, cause: Cause, view: View, more: Partial<Circumstances> = {}, route?: Route): Report {
  const report = { reference: text, works: false, cause, ...(route ? { route } : {}) }
  return { ...report, advice: adviceFor(report, { ...circumstances(text, view), ...more }) }
}

class Explanation {
  readonly #text: string
  readonly #asked: PodReference
  readonly #view: View
  readonly #place: Place
  readonly #route: Route
  readonly #depth: Depth
  readonly #signal: AbortSignal

  constructor(
    text: string,
    asked: PodReference,
    { view, place, route, depth, signal }: { view: View; place: Place; route: Route; depth: Depth; signal: AbortSignal }
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
    const { behind } = this.#place
    const [disk, kept, question] = await Promise.all([
      lookAtDisk(this.#view),
      keptOf(this.#view, this.#place, this.#asked.reference, this.#depth),
      this.#question()
    ])
    const served = this.#served(kept, question)
    const absence = behind ? { cause: question?.cause, near: question?.near } : served ? {} : await this.#localAbsence()
    const image = new ImageLook(this.#view, this.#place, { depth: this.#depth, signal: this.#signal })
    const lines = served && (await image.lines(served.manifest, served.from === 'upstream' ? 'upstream' : 'here'))
    const evidence: Evidence = {
      mode: this.#place.mode,
      ...(served ? { from: served.from } : {}),
      ...(absence.cause ? { absent: absence.cause } : {}),
      ...(kept ? { stored: kept.stored } : {}),
      lines: lines ?? [],
      ...(image.fault ? { fault: image.fault } : {}),
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
    const error = question?.error ?? image.fault
    const { retryAfter } = error ?? {}
    const pause = retryAfter === undefined ? {} : { retryAfter }
    return { ...report, advice: adviceFor(report, { ...circumstances(this.#text, this.#view, this.#place, error?.endpoint), ...pause }) }
  }

  async #question(): Promise<Question | undefined> {
    const { behind } = this.#place
    const there = this.#route.upstreamName
    return behind && there !== undefined ? askUpstream(behind, there, this.#asked.reference, this.#signal) : undefined
  }

  #served(kept: Kept | undefined, question: Question | undefined): { manifest: Manifest; from: NonNullable<Evidence['from']> } | undefined {
    const { manifest: own, stored, freshness } = kept ?? {}
    if (own && (!this.#place.behind || freshness === 'fresh')) return { manifest: own, from: 'store' }
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
    return { cause: 'tag-unknown', near: nearest((await content.tags.list(name, { n: tagsRead })).items, tag) }
  }
}

// When the manifest was had and a blob was not, the blob's story is the one to tell.
function withFault({ asking, error }: Question, { fault }: ImageLook): Question['asking'] {
  return error || !fault ? asking : { ...asking, told: fault.message }
}

function brief({ descriptor }: Manifest): { digest: string; mediaType: string; size: number } {
  const { digest, mediaType, size } = descriptor
  return { digest, mediaType, size }
}

function routeOf({ mode, name, stored, behind }: Place, { config }: View): Route {
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

function circumstances(reference: string, { config }: View, place?: Place, endpoint?: string): Circumstances {
  const settings = place?.behind?.settings
  const expired = settings?.ca === undefined ? undefined : expiredIn(settings.ca)
  return {
    reference,
    endpoint: endpoint || (settings?.endpoints[0] ? new URL(settings.endpoints[0]).host : ''),
    section: place?.behind?.section ?? 'registry',
    imagesRepo: settings ? [settings.host, settings.path].filter(part => part !== '').join('/') : '',
    path: config.server.path,
    hosts: [...config.server.names, ...Object.keys(config.registry.upstreams)],
    ...(expired ? { expired } : {})
  }
}
