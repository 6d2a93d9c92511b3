import { isTransient } from '../backend/errors.ts'
import type { Reference } from '../oci/name.ts'
import type { Manifest } from '../oci/source.ts'
import { UpstreamError } from '../upstream/error.ts'
import { causeOf, stepsOf } from './cause.ts'
import { similarTags } from './near.ts'
import type { Cause, UpstreamAnswer } from './report.ts'
import type { ResolvedUpstream } from './resolve.ts'

/** What came of asking the upstream for a manifest: it, or why not. */
export interface UpstreamProbe {
  asking: UpstreamAnswer
  manifest?: Manifest
  error?: UpstreamError
  cause?: Cause
  near?: string[]
}

// Enough to find a typing error; registries have some ten thousand tags.
const tagsRead = 1_000

/** Asks the upstream for the manifest, by the same client as pulls do: what it knows about limits and tokens counts here as well. */
export async function probeUpstream(
  behind: ResolvedUpstream,
  there: string,
  reference: Reference,
  signal: AbortSignal
): Promise<UpstreamProbe> {
  const { upstream } = behind.route
  const began = performance.now()
  const answer = await attempt(upstream.fetchManifest(there, reference, { signal }), signal)
  const ms = Math.round(performance.now() - began)
  const { credentials } = behind.settings
  const endpoints = upstream.health()
  const user = credentials ? { username: credentials.username } : {}
  if (!(answer instanceof UpstreamError)) {
    const manifest = answer === 'not-modified' ? undefined : answer
    const steps = stepsOf(new URL(endpoints[0]?.url ?? ''))
    const digest = manifest ? { digest: manifest.descriptor.digest } : {}
    return { asking: { endpoints, ...user, ...steps, status: 200, ms, ...digest }, ...(manifest ? { manifest } : {}) }
  }
  const asked = endpoints.find(({ url }) => new URL(url).host === answer.endpoint) ?? endpoints[0]
  const status = answer.status === undefined ? {} : { status: answer.status }
  const steps = stepsOf(new URL(asked?.url ?? ''), answer)
  const asking = { endpoints, ...user, ...steps, ...status, ms, told: answer.message }
  return { asking, error: answer, ...(await refine(answer, behind, there, reference, signal)) }
}

/** The value, or the upstream's error; running out of time is one of them. */
export async function attempt<T>(work: Promise<T>, signal: AbortSignal): Promise<T | UpstreamError> {
  try {
    return await work
  } catch (error) {
    if (error instanceof UpstreamError) return error
    if (signal.aborted) return new UpstreamError('timeout', 'the upstream took too long', { endpoint: '' })
    throw error
  }
}

// A 404 has several reasons, and a list of tags tells most of them apart.
async function refine(
  error: UpstreamError,
  { route, settings }: ResolvedUpstream,
  there: string,
  reference: Reference,
  signal: AbortSignal
) {
  if (error.kind !== 'not-found') return { cause: causeOf(error) }
  const tags = async (name: string): Promise<readonly string[] | 'none' | 'unknown'> => {
    const page = await attempt(route.upstream.listTags(name, { n: tagsRead }, signal), signal)
    if (page instanceof UpstreamError) return page.kind === 'not-found' ? 'none' : 'unknown'
    return page.value.items.length === 0 ? 'none' : page.value.items
  }
  const found = error.code === 'NAME_UNKNOWN' ? 'none' : await tags(there)
  if (found !== 'none') {
    if (reference.tag === undefined) return { cause: 'manifest-unknown' as const }
    return { cause: 'tag-unknown' as const, near: found === 'unknown' ? [] : similarTags(found, reference.tag) }
  }
  if (settings.path !== '' && (there === settings.path || (await tags(settings.path)) === 'none')) return { cause: 'wrong-path' as const }
  return { cause: 'repository-unknown' as const }
}

/** Whether a cache answers with what it has although the upstream answered like this. */
export function servesStale(error: UpstreamError, policy: 'serve' | 'forget', origin: 'pushed' | 'cached'): boolean {
  if (error.kind === 'not-found') return policy === 'serve' || origin === 'pushed'
  return isTransient(error)
}
