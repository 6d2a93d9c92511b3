import { UpstreamError } from './error.ts'
import type { EndpointHealth, UpstreamEvent } from './options.ts'

// A limit without a time: short enough to notice its end, long enough not to be part of the trouble.
const defaultPauseMs = 10_000
const firstBackoffMs = 1_000
const maxBackoffMs = 30_000

interface State {
  readonly url: URL
  failures: number
  /** Until then it is tried after the others. */
  backoffUntil: number
  /** Set from the moment that it said when to come back until it has answered again. */
  openUntil?: number | undefined
  probing: boolean
  lastError?: { message: string; at: number }
}

/** How a request to an endpoint ended; undefined if whoever asked left first. */
export type RequestResult = 'answered' | UpstreamError | undefined

/** The endpoints of one upstream: which to ask first, and which not to ask at all. */
export class Endpoints {
  readonly #states: State[]
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void

  constructor(urls: readonly URL[], { now, observe }: { now: () => number; observe: (event: UpstreamEvent) => void }) {
    this.#states = urls.map(url => ({ url: new URL(url.origin), failures: 0, backoffUntil: 0, probing: false }))
    this.#now = now
    this.#observe = observe
  }

  /** All of them: those that do well in order of preference, then those that failed, the one that rested longest first. */
  order(): URL[] {
    const now = this.#now()
    const well = this.#states.filter(each => each.backoffUntil <= now)
    const ill = this.#states.filter(each => each.backoffUntil > now).sort((a, b) => a.backoffUntil - b.backoffUntil)
    return [...well, ...ill].map(each => each.url)
  }

  /** Undefined if the endpoint may be asked, else why not. Whoever was admitted calls `settle`. After a pause one request goes ahead alone. */
  refusal(url: URL): UpstreamError | undefined {
    const state = this.#state(url)
    if (!state || state.openUntil === undefined) return undefined
    const left = state.openUntil - this.#now()
    if (left <= 0 && !state.probing) {
      state.probing = true
      return undefined
    }
    const retryAfter = Math.max(left, 1000)
    const message = `${url.host}: not asked for another ${Math.ceil(retryAfter / 1000)} s, as it wished`
    return new UpstreamError('limited', message, { endpoint: url.host, retryAfter })
  }

  /** Takes note of how a request ended. */
  report(url: URL, ending: RequestResult): void {
    const state = this.#state(url)
    if (!state) return
    state.probing = false
    if (ending === undefined) return
    if (ending === 'answered' || isHealthy(ending)) {
      state.failures = 0
      state.backoffUntil = 0
      // What had been sent before the limit came does not lift it.
      if (state.openUntil !== undefined && state.openUntil <= this.#now()) state.openUntil = undefined
    } else this.#failed(state, ending)
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

  /** For `/status`. */
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

// The endpoint works, whatever it says about this content.
function isHealthy({ kind }: UpstreamError): boolean {
  return kind === 'not-found' || kind === 'unauthorized' || kind === 'denied' || kind === 'unsatisfiable'
}
