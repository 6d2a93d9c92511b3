import type { EndpointClient, UpstreamRequest, UpstreamResponse } from './endpoint-client.ts'
import type { Endpoints, RequestResult } from './endpoints.ts'
import { UpstreamError } from './error.ts'

const rounds = 3
const firstPause = 100

// A second try a moment later finds them as they are.
const lasting = /^(CERT_|ERR_TLS|ERR_SSL|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|ENOTFOUND$|DIGEST$|SIZE$|EPROTO$)/

/** Asks one endpoint after the other until one gives an answer that can be used. Everything here is a GET or a HEAD, and may be repeated. */
export class FailoverClient {
  readonly #endpoints: Endpoints
  readonly #requests: EndpointClient
  readonly #random: () => number
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>

  constructor(
    endpoints: Endpoints,
    requests: EndpointClient,
    { random, sleep }: { random: () => number; sleep: (ms: number, signal: AbortSignal) => Promise<void> }
  ) {
    this.#endpoints = endpoints
    this.#requests = requests
    this.#random = random
    this.#sleep = sleep
  }

  /**
   * `use` makes a value of an answer; an UpstreamError of it counts as the endpoint's failure, like one of the request. What nobody has is only not found when all
   * endpoints said so; a wrong credential is final, and so is a range outside the blob.
   */
  async run<T>(ask: UpstreamRequest, signal: AbortSignal, use: (answer: UpstreamResponse) => Promise<T> | T): Promise<T> {
    for (let round = 1; ; round++) {
      const outcome = await this.#round(ask, signal, use)
      if ('value' in outcome) return outcome.value
      if (round === rounds || !isTransient(outcome.error)) throw outcome.error
      await this.pause(round, signal)
    }
  }

  /** Another request of the same conversation, to the endpoint that it began with. */
  ask(endpoint: URL, ask: UpstreamRequest, signal: AbortSignal): Promise<UpstreamResponse> {
    return this.#requests.ask(endpoint, ask, signal)
  }

  /** Waits before try `number` + 1: twice as long each time, between half and the whole of it. */
  pause(number: number, signal: AbortSignal): Promise<void> {
    const whole = firstPause * 2 ** number
    return this.#sleep(whole / 2 + (whole / 2) * this.#random(), signal)
  }

  /** Takes note of what happened to a body after its answer had begun. */
  report(endpoint: URL, ending: RequestResult): void {
    this.#endpoints.report(endpoint, ending)
  }

  async #round<T>(
    ask: UpstreamRequest,
    signal: AbortSignal,
    use: (answer: UpstreamResponse) => Promise<T> | T
  ): Promise<{ value: T } | { error: UpstreamError }> {
    const errors: UpstreamError[] = []
    for (const endpoint of this.#endpoints.order()) {
      const refusal = this.#endpoints.refusal(endpoint)
      const outcome = refusal ? { error: refusal } : await this.#once(endpoint, ask, signal, use)
      if ('value' in outcome) return outcome
      if (isFinal(outcome.error)) throw outcome.error
      errors.push(outcome.error)
    }
    // One that may have it and could not be asked outweighs all that have it not.
    const missing = (each: UpstreamError) => each.kind === 'not-found'
    const limited = (each: UpstreamError) => each.kind === 'limited'
    const error = errors.findLast(each => !missing(each) && !limited(each)) ?? soonest(errors.filter(limited)) ?? errors.at(-1)
    if (!error) throw new Error('an upstream has no endpoint')
    return { error }
  }

  async #once<T>(
    endpoint: URL,
    ask: UpstreamRequest,
    signal: AbortSignal,
    use: (answer: UpstreamResponse) => Promise<T> | T
  ): Promise<{ value: T } | { error: UpstreamError }> {
    let ending: RequestResult
    try {
      const value = await use(await this.#requests.ask(endpoint, ask, signal))
      ending = 'answered'
      return { value }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof UpstreamError)) throw error
      ending = error
      return { error }
    } finally {
      this.#endpoints.report(endpoint, ending)
    }
  }
}

function isFinal({ kind }: UpstreamError): boolean {
  return kind === 'unauthorized' || kind === 'denied' || kind === 'unsatisfiable'
}

/** Whether asking again a moment later may help. */
export function isTransient({ kind, status, code = '' }: UpstreamError): boolean {
  if (kind === 'timeout') return status === 408
  return (kind === 'unreachable' || kind === 'broken') && !lasting.test(code)
}

function soonest(limited: UpstreamError[]): UpstreamError | undefined {
  return limited.toSorted((a, b) => (a.retryAfter ?? 0) - (b.retryAfter ?? 0))[0]
}
