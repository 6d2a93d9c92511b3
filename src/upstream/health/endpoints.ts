import { isLimited, pauseMsOf, UpstreamError } from '../error.ts'
import type { EndpointHealth, EndpointState, ReplicaPolicy, UpstreamEvent } from '../options.ts'
import { type LimitedPart, LimitedParts } from './limited-parts.ts'

const firstBackoffMs = 1_000
const maxBackoffMs = 30_000
// Of an endpoint that is frozen or cut off no request has to find that out again; its probes go on.
const silentAfterProbes = 3

interface State {
  readonly url: URL
  failures: number
  /** Until then it is tried after the healthy ones. */
  backoffUntil: number
  readonly limits: LimitedParts
  /** Whether the last request ended with `lastError`. */
  failing: boolean
  /** Whether the last failure was of the connection, and not an answer. */
  unreached: boolean
  running: number
  /** Probes in a row that were not answered. */
  missedProbes: number
  /** When it last answered, and no further than at its start if it never did. */
  heardAt: number
  lastError?: { message: string; at: number }
}

/** How a request to an endpoint ended; undefined if it was aborted. */
export type RequestResult = 'answered' | UpstreamError | undefined

/** The endpoints of one upstream, with their health and circuit breakers. */
export class Endpoints {
  readonly #states: State[]
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void
  readonly #replicas: ReplicaPolicy | undefined

  constructor(
    urls: readonly URL[],
    { now, observe, replicas }: { now: () => number; observe: (event: UpstreamEvent) => void; replicas?: ReplicaPolicy | undefined }
  ) {
    const fresh = () => ({
      failures: 0,
      backoffUntil: 0,
      limits: new LimitedParts(),
      failing: false,
      unreached: false,
      running: 0,
      missedProbes: 0,
      heardAt: now()
    })
    this.#states = urls.map(url => ({ url: new URL(url.origin), ...fresh() }))
    this.#now = now
    this.#observe = observe
    this.#replicas = replicas
  }

  /**
   * All endpoints: the healthy ones in order of preference, or in that of replicas for `path`, then those in backoff,
   * the one whose backoff ends first leading.
   */
  order(path?: string): URL[] {
    const now = this.#now()
    if (this.#replicas) return this.#replicas.order(this.states(), path)
    const healthy = this.#states.filter(each => each.backoffUntil <= now)
    const unhealthy = this.#states.filter(each => each.backoffUntil > now).sort((a, b) => a.backoffUntil - b.backoffUntil)
    return [...healthy, ...unhealthy].map(each => each.url)
  }

  /** Of each endpoint, in order of preference. */
  states(): EndpointState[] {
    const now = this.#now()
    return this.#states.map(({ url, backoffUntil, running }) => ({ url, healthy: backoffUntil <= now, running }))
  }

  /** Counts a request as under way; call the returned function when it is over. */
  begin(url: URL): () => void {
    const state = this.#state(url)
    if (!state) return () => {}
    state.running++
    return () => void state.running--
  }

  /** Those that are unhealthy, or have not answered for `ms`. */
  silent(ms: number): URL[] {
    const now = this.#now()
    return this.#states.filter(each => each.failing || now - each.heardAt >= ms).map(each => each.url)
  }

  /**
   * A probe of the endpoint was answered: it is healthy again, unless what failed was an answer and its backoff is not
   * over.
   */
  reached(url: URL): void {
    const state = this.#state(url)
    if (!state) return
    if (state.unreached || (state.failing && state.backoffUntil <= this.#now())) this.report(url, 'answered')
    state.missedProbes = 0
    state.heardAt = this.#now()
  }

  /** Records that a probe of the endpoint was not answered. */
  missed(url: URL, error: UpstreamError): void {
    const state = this.#state(url)
    if (!state) return
    state.missedProbes = error.kind === 'timeout' ? state.missedProbes + 1 : 0
    this.report(url, error)
  }

  /**
   * Why the endpoint's circuit breaker refuses this part of its content, or why it is not asked at all: it answers no
   * probes. Undefined if a request is admitted, and then `report` has to be called.
   */
  refusal(url: URL, part: LimitedPart): UpstreamError | undefined {
    const state = this.#state(url)
    if (state && state.missedProbes >= silentAfterProbes) return notAsked(url)
    const retryAfter = state?.limits.refusal(part, this.#now())
    if (retryAfter === undefined) return undefined
    const message = `${url.host}: rate limited for another ${Math.ceil(retryAfter / 1000)} s`
    return new UpstreamError('limited', message, { endpoint: url.host, retryAfter })
  }

  /** Records how a request ended, or with no `part` how a body did. */
  report(url: URL, result: RequestResult, part?: LimitedPart): void {
    const state = this.#state(url)
    if (!state) return
    if (part) this.#reportLimit(state, result, part)
    if (result === undefined) return
    if (result === 'answered' || isHealthy(result)) {
      state.failures = 0
      state.backoffUntil = 0
      state.unreached = false
      state.missedProbes = 0
      state.heardAt = this.#now()
    } else if (!isLimited(result)) this.#failed(state, result)
    state.failing = result !== 'answered' && !isAbsence(result)
    if (result !== 'answered' && state.failing) state.lastError = { message: result.message, at: this.#now() }
  }

  #reportLimit({ url, limits }: State, result: RequestResult, part: LimitedPart): void {
    const { resource, scope } = part
    // The token service has a circuit breaker of its own, for each token.
    if (isLimited(result) && result.code !== 'TOKEN') {
      const until = limits.open(part, this.#now() + pauseMsOf(result))
      this.#observe({ type: 'breaker', endpoint: url.host, resource, scope, until })
    } else limits.end(part, result === undefined || isLimited(result) ? 'open' : 'lifted', this.#now())
  }

  #failed(state: State, { status }: UpstreamError): void {
    state.unreached = status === undefined
    state.backoffUntil = this.#now() + Math.min(firstBackoffMs * 2 ** state.failures, maxBackoffMs)
    state.failures = Math.min(state.failures + 1, 16)
  }

  /** For `/status`, in order of preference. */
  health(): EndpointHealth[] {
    const now = this.#now()
    return this.#states.map(({ url, failing, backoffUntil, limits, lastError, running }) => {
      const openUntil = limits.openUntil(now)
      return {
        url: url.origin,
        healthy: !failing && backoffUntil <= now && openUntil === undefined,
        ...(this.#replicas ? { running } : {}),
        ...(lastError ? { lastError } : {}),
        ...(openUntil === undefined ? {} : { openUntil })
      }
    })
  }

  #state(url: URL): State | undefined {
    return this.#states.find(each => each.url === url)
  }
}

// With the code of a connection that was not made: another endpoint may be written to.
function notAsked({ host }: URL): UpstreamError {
  return new UpstreamError('unreachable', `${host} does not answer`, { endpoint: host, code: 'UND_ERR_CONNECT_TIMEOUT' })
}

// The endpoint works, whatever it responds about this content.
function isHealthy(error: UpstreamError): boolean {
  return isAbsence(error) || error.kind === 'unauthorized' || error.kind === 'denied'
}

function isAbsence({ kind }: UpstreamError): boolean {
  return kind === 'not-found' || kind === 'unsatisfiable'
}
