import { isLimited, pauseMsOf, UpstreamError } from '../error.ts'
import type { EndpointHealth, UpstreamEvent } from '../options.ts'
import { type LimitedPart, LimitedParts } from './limited-parts.ts'

const firstBackoffMs = 1_000
const maxBackoffMs = 30_000

interface State {
  readonly url: URL
  failures: number
  /** Until then it is tried after the healthy ones. */
  backoffUntil: number
  readonly limits: LimitedParts
  /** Whether the last request ended with `lastError`. */
  failing: boolean
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
    const fresh = () => ({ failures: 0, backoffUntil: 0, limits: new LimitedParts(), failing: false })
    this.#states = urls.map(url => ({ url: new URL(url.origin), ...fresh() }))
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
   * Why the endpoint's circuit breaker refuses this part of its content; undefined if a request is admitted, and then
   * `report` has to be called.
   */
  refusal(url: URL, part: LimitedPart): UpstreamError | undefined {
    const retryAfter = this.#state(url)?.limits.refusal(part, this.#now())
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
    } else if (!isLimited(result)) this.#failed(state)
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

  #failed(state: State): void {
    state.backoffUntil = this.#now() + Math.min(firstBackoffMs * 2 ** state.failures, maxBackoffMs)
    state.failures = Math.min(state.failures + 1, 16)
  }

  /** For `/status`, in order of preference. */
  health(): EndpointHealth[] {
    const now = this.#now()
    return this.#states.map(({ url, failing, backoffUntil, limits, lastError }) => {
      const openUntil = limits.openUntil(now)
      return {
        url: url.origin,
        healthy: !failing && backoffUntil <= now && openUntil === undefined,
        ...(lastError ? { lastError } : {}),
        ...(openUntil === undefined ? {} : { openUntil })
      }
    })
  }

  #state(url: URL): State | undefined {
    return this.#states.find(each => each.url === url)
  }
}

// The endpoint works, whatever it responds about this content.
function isHealthy(error: UpstreamError): boolean {
  return isAbsence(error) || error.kind === 'unauthorized' || error.kind === 'denied'
}

function isAbsence({ kind }: UpstreamError): boolean {
  return kind === 'not-found' || kind === 'unsatisfiable'
}
