import { UpstreamError } from './error.ts'
import type { EndpointHealth, UpstreamEvent } from './options.ts'

// For a 429 without Retry-After: short enough to notice its end, long enough to relieve the upstream.
const defaultPauseMs = 10_000
const firstBackoffMs = 1_000
const maxBackoffMs = 30_000

interface State {
  readonly url: URL
  failures: number
  /** Until then it is tried after the healthy ones. */
  backoffUntil: number
  /** The circuit breaker: set by a rate limit, cleared by the first response after that time. */
  openUntil?: number | undefined
  probing: boolean
  lastError?: { message: string; at: number }
}

/** How a request to an endpoint ended; undefined if it was aborted. */
export type RequestResult = 'answered' | UpstreamError | undefined

/** The endpoints of one upstream, with their health and circuit breakers. */
export class Endpoints {
  readonly #states: State[]
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void

  constructor(urls: readonly URL[], { now, observe }: { now: () => number; observe: (event: UpstreamEvent) => void }) {
    this.#states = urls.map(url => ({ url: new URL(url.origin), failures: 0, backoffUntil: 0, probing: false }))
    this.#now = now
    this.#observe = observe
  }

  /**
   * All endpoints: the healthy ones in order of preference, then those in backoff, the one whose backoff ends first
   * leading.
   */
  order(): URL[] {
    const now = this.#now()
    const healthy = this.#states.filter(each => each.backoffUntil <= now)
    const unhealthy = this.#states.filter(each => each.backoffUntil > now).sort((a, b) => a.backoffUntil - b.backoffUntil)
    return [...healthy, ...unhealthy].map(each => each.url)
  }

  /**
   * Why the endpoint's circuit breaker refuses a request; undefined if it is admitted, and then `report` has to be
   * called. When the time is over one request goes first as a probe.
   */
  refusal(url: URL): UpstreamError | undefined {
    const state = this.#state(url)
    if (!state || state.openUntil === undefined) return undefined
    const left = state.openUntil - this.#now()
    if (left <= 0 && !state.probing) {
      state.probing = true
      return undefined
    }
    const retryAfter = Math.max(left, 1000)
    const message = `${url.host}: rate limited for another ${Math.ceil(retryAfter / 1000)} s`
    return new UpstreamError('limited', message, { endpoint: url.host, retryAfter })
  }

  /** Records how a request ended. */
  report(url: URL, result: RequestResult): void {
    const state = this.#state(url)
    if (!state) return
    state.probing = false
    if (result === undefined) return
    if (result === 'answered' || isHealthy(result)) {
      state.failures = 0
      state.backoffUntil = 0
      // A response to a request from before the limit does not lift it.
      if (state.openUntil !== undefined && state.openUntil <= this.#now()) state.openUntil = undefined
    } else this.#failed(state, result)
  }

  #failed(state: State, error: UpstreamError): void {
    const now = this.#now()
    state.lastError = { message: error.message, at: now }
    if (error.kind === 'limited') {
      state.openUntil = Math.max(state.openUntil ?? 0, now + (error.retryAfter ?? defaultPauseMs))
      this.#observe({ type: 'breaker', endpoint: state.url.host, until: state.openUntil })
      return
    }
    state.backoffUntil = now + Math.min(firstBackoffMs * 2 ** state.failures, maxBackoffMs)
    state.failures = Math.min(state.failures + 1, 16)
    state.openUntil = undefined
  }

  /** For `/status`, in order of preference. */
  health(): EndpointHealth[] {
    const now = this.#now()
    return this.#states.map(({ url, backoffUntil, openUntil, lastError }) => ({
      url: url.origin,
      healthy: backoffUntil <= now && (openUntil ?? 0) <= now,
      ...(lastError ? { lastError } : {}),
      ...(openUntil !== undefined && openUntil > now ? { openUntil } : {})
    }))
  }

  #state(url: URL): State | undefined {
    return this.#states.find(each => each.url === url)
  }
}

// The endpoint works, whatever it responds about this content.
function isHealthy({ kind }: UpstreamError): boolean {
  return kind === 'not-found' || kind === 'unauthorized' || kind === 'denied' || kind === 'unsatisfiable'
}
