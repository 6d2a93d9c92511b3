import { compileGrants, isGranted } from '../access/grants.ts'
import { ownPlatform } from '../oci/platform.ts'
import { MalformedReference, type PodReference, parsePodReference } from '../oci/pod-reference.ts'
import type { Manifest } from '../oci/source.ts'
import { type AdviceContext, adviceContextOf, adviceFor } from './advice.ts'
import { ImageInspection } from './image.ts'
import { type InspectionDepth, inspectDisk } from './inspect.ts'
import { probeUpstream, servesStale, type UpstreamProbe } from './probe.ts'
import type { Cause, PullRoute, Report } from './report.ts'
import { type ResolvedReference, resolveReference, type WhyContext } from './resolve.ts'
import { similarTags } from './similar-tags.ts'
import { findStoredCopy, type StoredCopy } from './stored-reference.ts'
import { type Evidence, judge } from './verdict.ts'

/** How a reference is explained. */
export interface ExplainOptions {
  /** `size` leaves out the digests of stored blobs. */
  depth: 'size' | 'digest'
  signal: AbortSignal
}

// A person waits for the report in front of a terminal.
const timeoutMs = 60_000
const digestTimeoutMs = 20_000
const maxTags = 10_000

/** Explains why a pull of `text` works or does not, as this process sees it. Stores, fills and marks nothing. */
export async function explain(text: string, context: WhyContext, { depth, signal }: ExplainOptions): Promise<Report> {
  let parsed: PodReference
  try {
    parsed = parsePodReference(text)
  } catch (error) {
    if (error instanceof MalformedReference) return refused(text, 'malformed-reference', context, { fault: error.message })
    throw error
  }
  const target = resolveReference(parsed, context)
  if (target === 'unknown-host') return refused(text, 'unknown-host', context)
  const route = routeOf(target, context)
  if (target.upstream && route.upstreamName === undefined) return refused(text, 'outside-path', context, {}, route)
  const limits = {
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    depth: depth === 'size' ? ('size' as const) : { until: AbortSignal.any([signal, AbortSignal.timeout(digestTimeoutMs)]) }
  }
  return new Explanation(text, parsed, { context, target, route, ...limits }).report()
}

function refused(text: string, cause: Cause, context: WhyContext, more: Partial<AdviceContext> = {}, route?: PullRoute): Report {
  const report = { reference: text, works: false, cause, ...(route ? { route } : {}) }
  return { ...report, advice: adviceFor(report, { ...adviceContextOf(text, context), ...more }) }
}

interface ExplanationOptions {
  context: WhyContext
  target: ResolvedReference
  route: PullRoute
  depth: InspectionDepth
  signal: AbortSignal
}

class Explanation {
  readonly #text: string
  readonly #parsed: PodReference
  readonly #context: WhyContext
  readonly #target: ResolvedReference
  readonly #route: PullRoute
  readonly #depth: InspectionDepth
  readonly #signal: AbortSignal

  constructor(text: string, parsed: PodReference, { context, target, route, depth, signal }: ExplanationOptions) {
    this.#text = text
    this.#parsed = parsed
    this.#context = context
    this.#target = target
    this.#route = route
    this.#depth = depth
    this.#signal = signal
  }

  async report(): Promise<Report> {
    const { upstream } = this.#target
    const [disk, copy, probe] = await Promise.all([
      inspectDisk(this.#context),
      findStoredCopy(this.#context, this.#target, this.#parsed.reference, this.#depth),
      this.#probe()
    ])
    const served = this.#served(copy, probe)
    const absence = upstream ? { cause: probe?.cause, near: probe?.near } : served ? {} : await this.#localAbsence()
    const image = new ImageInspection(this.#context, this.#target, { depth: this.#depth, signal: this.#signal })
    const lines = served && (await image.lines(served.manifest, served.from === 'upstream' ? 'upstream' : 'here'))
    const evidence: Evidence = {
      mode: this.#target.mode,
      ...(served ? { from: served.from } : {}),
      ...(absence.cause ? { absent: absence.cause } : {}),
      ...(copy ? { stored: copy.stored } : {}),
      lines: lines ?? [],
      ...(image.upstreamError ? { upstreamError: image.upstreamError } : {}),
      disk,
      platform: ownPlatform(process.arch)
    }
    const report = {
      reference: this.#text,
      ...judge(evidence),
      route: this.#route,
      ...(copy ? { stored: copy.stored } : {}),
      ...(probe ? { upstream: withBlobError(probe, image) } : {}),
      ...(served ? { manifest: { ...descriptorOf(served.manifest), from: served.from } } : {}),
      ...(lines ? { manifests: lines } : {}),
      ...(absence.near && absence.near.length > 0 ? { near: absence.near } : {}),
      disk
    }
    const error = probe?.error ?? image.upstreamError
    const { retryAfter } = error ?? {}
    const backoff = retryAfter === undefined ? {} : { retryAfter }
    const advice = { ...adviceContextOf(this.#text, this.#context, this.#target, error?.endpoint), ...backoff }
    return { ...report, advice: adviceFor(report, advice) }
  }

  async #probe(): Promise<UpstreamProbe | undefined> {
    const { upstream } = this.#target
    const { upstreamName } = this.#route
    return upstream && upstreamName !== undefined ? probeUpstream(upstream, upstreamName, this.#parsed.reference, this.#signal) : undefined
  }

  /** The manifest that a pull would get now. */
  #served(
    copy: StoredCopy | undefined,
    probe: UpstreamProbe | undefined
  ): { manifest: Manifest; from: NonNullable<Evidence['from']> } | undefined {
    const { manifest: own, stored, freshness } = copy ?? {}
    if (own && (!this.#target.upstream || freshness === 'fresh')) return { manifest: own, from: 'store' }
    if (probe?.manifest) {
      const same = own?.descriptor.digest === probe.manifest.descriptor.digest
      return { manifest: probe.manifest, from: same ? 'store' : 'upstream' }
    }
    const { onUpstreamNotFound } = this.#context.config.cache
    const origin = stored?.origin === 'pushed' ? 'pushed' : 'cached'
    if (own && probe?.error && servesStale(probe.error, onUpstreamNotFound, origin))
      return { manifest: own, from: 'store, as the last known' }
    return undefined
  }

  async #localAbsence(): Promise<{ cause: Cause; near?: string[] }> {
    const { content } = this.#context
    const { tag } = this.#parsed.reference
    const { name } = this.#target
    if (!(await content.names.has(name))) return { cause: 'repository-unknown' }
    if (tag === undefined) return { cause: 'manifest-unknown' }
    return { cause: 'tag-unknown', near: similarTags((await content.tags.list(name, { n: maxTags })).items, tag) }
  }
}

// Where the upstream gave the manifest and refused a blob, the refusal is what the report is about.
function withBlobError({ answer, error }: UpstreamProbe, { upstreamError }: ImageInspection): UpstreamProbe['answer'] {
  return error || !upstreamError ? answer : { ...answer, told: upstreamError.message }
}

function descriptorOf({ descriptor }: Manifest): { digest: string; mediaType: string; size: number } {
  const { digest, mediaType, size } = descriptor
  return { digest, mediaType, size }
}

function routeOf({ mode, name, storedName, upstream }: ResolvedReference, { config }: WhyContext): PullRoute {
  const upstreamName = upstream?.route.upstreamName(name)
  return {
    mode,
    name,
    ...(storedName !== name && mode === 'Proxy' ? { storedAs: storedName } : {}),
    ...(upstream ? { upstream: upstream.route.origin } : {}),
    ...(upstreamName === undefined ? {} : { upstreamName }),
    anonymousPull: isGranted(compileGrants(config.auth.anonymous), 'pull', name, upstream?.route.namespace) ? 'allowed' : 'refused'
  }
}
