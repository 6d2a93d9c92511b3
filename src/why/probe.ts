import { isNoAnswer } from '../backend/errors.ts'
import type { Reference } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import { UpstreamError } from '../upstream/error.ts'
import { causeOf, stepsOf } from './cause.ts'
import type { Cause, UpstreamAnswer } from './report.ts'
import type { ResolvedUpstream } from './resolve.ts'
import { similarTags } from './similar-tags.ts'

/** The result of a request for the manifest to the upstream: the manifest, or why there is none. */
export interface UpstreamProbe {
  answer: UpstreamAnswer
  manifest?: Manifest
  error?: UpstreamError
  cause?: Cause
  /** Tags that are similar to the one that is not there. */
  near?: string[]
}

// Enough to find a misspelling; registries have some ten thousand tags.
const maxTags = 1_000

/** Requests the manifest from the upstream by the client that pulls use, so that its tokens and rate limits count. */
export async function probeUpstream(
  resolved: ResolvedUpstream,
  upstreamName: string,
  reference: Reference,
  signal: AbortSignal
): Promise<UpstreamProbe> {
  const { upstream } = resolved.route
  const began = performance.now()
  const result = await attempt(upstream.fetchManifest(upstreamName, reference, { signal }), signal)
  const ms = Math.round(performance.now() - began)
  const { credentials } = resolved.settings
  const endpoints = upstream.health()
  const user = credentials ? { username: credentials.username } : {}
  if (!(result instanceof UpstreamError)) {
    const manifest = result === 'not-modified' ? undefined : result
    const steps = stepsOf(new URL(endpoints[0]?.url ?? ''))
    const digest = manifest ? { digest: manifest.descriptor.digest } : {}
    return { answer: { endpoints, ...user, ...steps, status: 200, ms, ...digest }, ...(manifest ? { manifest } : {}) }
  }
  const endpoint = endpoints.find(({ url }) => new URL(url).host === result.endpoint) ?? endpoints[0]
  const status = result.status === undefined ? {} : { status: result.status }
  const steps = stepsOf(new URL(endpoint?.url ?? ''), result)
  const answer = { endpoints, ...user, ...steps, ...status, ms, told: result.message }
  return { answer, error: result, ...(await refine(result, resolved, upstreamName, reference, signal)) }
}

/** The value, or the upstream's error; a timeout is one of them. */
export async function attempt<T>(work: Promise<T>, signal: AbortSignal): Promise<T | UpstreamError> {
  try {
    return await work
  } catch (error) {
    if (error instanceof UpstreamError) return error
    if (signal.aborted) return new UpstreamError('timeout', 'the upstream took too long', { endpoint: '' })
    throw error
  }
}

// A 404 has several causes, and a list of tags tells most of them apart.
async function refine(
  error: UpstreamError,
  { route, settings }: ResolvedUpstream,
  upstreamName: string,
  reference: Reference,
  signal: AbortSignal
): Promise<{ cause: Cause; near?: string[] }> {
  if (error.kind !== 'not-found') return { cause: causeOf(error) }
  const tagsOf = async (name: string): Promise<readonly string[] | 'none' | 'unknown'> => {
    const page = await attempt(route.upstream.listTags(name, { n: maxTags }, signal), signal)
    if (page instanceof UpstreamError) return page.kind === 'not-found' ? 'none' : 'unknown'
    return page.value.items.length === 0 ? 'none' : page.value.items
  }
  const tags = error.code === 'NAME_UNKNOWN' ? 'none' : await tagsOf(upstreamName)
  if (tags !== 'none') {
    if (reference.tag === undefined) return { cause: 'manifest-unknown' }
    return { cause: 'tag-unknown', near: tags === 'unknown' ? [] : similarTags(tags, reference.tag) }
  }
  if (settings.path !== '' && (upstreamName === settings.path || (await tagsOf(settings.path)) === 'none')) return { cause: 'wrong-path' }
  return { cause: 'repository-unknown' }
}

/** Whether a cache serves its stale copy after this error of the upstream. */
export function servesStale(error: UpstreamError, policy: 'serve' | 'forget', origin: 'pushed' | 'cached'): boolean {
  if (error.kind === 'not-found') return policy === 'serve' || origin === 'pushed'
  return isNoAnswer(error)
}
