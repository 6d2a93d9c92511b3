import { UpstreamError } from './error.ts'

/** How a request to one endpoint ended. */
export type AttemptResult<T> = { value: T } | { error: UpstreamError }

/** What takes part in a race, and what it is told by. */
export interface RaceOptions<T> {
  /** In the order in which they are asked; at least one. */
  endpoints: readonly URL[]
  /** Asks one endpoint; rejects with the reason of an aborted signal, or with an error that ends the race. */
  attempt: (endpoint: URL, signal: AbortSignal) => Promise<AttemptResult<T>>
  /** After how many ms without an answer the next endpoint is asked as well. */
  hedgeAfterMs: number
  /** Whether an endpoint that has not answered answers anything at all; called again while it does not. */
  isAlive: (endpoint: URL) => Promise<boolean>
  /** How many probes in a row it may miss: one may be lost, or come to a machine that is busy. */
  missedProbes: number
  /** An error that another endpoint would give too. */
  isFinal: (error: UpstreamError) => boolean
  /** Called when an endpoint is asked because those before did not answer in time. */
  onHedge: (endpoint: URL) => void
  signal: AbortSignal
}

/** The value that came first, or why there is none. */
export type RaceResult<T> = { value: T } | { errors: UpstreamError[] }

// Between two probes of an endpoint that does not answer.
const probeAgainMs = 1_000
/** The code of a request that was given up since its endpoint answered no probe. */
export const silentCode = 'SILENT'

/**
 * Asks endpoints until one gives a value: the next one when one fails, and when it does not answer in time; the first
 * value wins, and the other requests are aborted. Without a value, resolves to the errors in the order in which they
 * came. Rejects with the signal's reason.
 */
export function race<T>(options: RaceOptions<T>): Promise<RaceResult<T>> {
  return new Promise((resolve, reject) => new Race(options, resolve, reject).start())
}

/** A request under way. */
interface Runner {
  own: AbortController
  /** Probes in a row that its endpoint did not answer. */
  missed: number
}

class Race<T> {
  readonly #options: RaceOptions<T>
  readonly #resolve: (result: RaceResult<T>) => void
  readonly #reject: (reason: unknown) => void
  readonly #running = new Map<URL, Runner>()
  readonly #errors: UpstreamError[] = []
  #asked = 0
  #over = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: RaceOptions<T>, resolve: (result: RaceResult<T>) => void, reject: (reason: unknown) => void) {
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    this.#askNext()
  }

  // False if all were asked.
  #askNext(): boolean {
    const { endpoints, attempt, signal, hedgeAfterMs } = this.#options
    const endpoint = endpoints[this.#asked]
    if (!endpoint) return false
    this.#asked++
    this.#wait(hedgeAfterMs)
    const own = new AbortController()
    this.#running.set(endpoint, { own, missed: 0 })
    attempt(endpoint, AbortSignal.any([signal, own.signal])).then(
      outcome => this.#ended(endpoint, outcome),
      error => this.#failed(endpoint, own, error)
    )
    return true
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#late(), ms)
  }

  #late(): void {
    for (const [endpoint, runner] of this.#running) void this.#check(endpoint, runner)
    const next = this.#options.endpoints[this.#asked]
    if (next) {
      this.#options.onHedge(next)
      this.#askNext()
    } else this.#wait(probeAgainMs)
  }

  async #check(endpoint: URL, runner: Runner): Promise<void> {
    runner.missed = (await this.#options.isAlive(endpoint)) ? 0 : runner.missed + 1
    if (runner.missed < this.#options.missedProbes) return
    runner.own.abort(new UpstreamError('timeout', `${endpoint.host} does not answer`, { endpoint: endpoint.host, code: silentCode }))
  }

  #ended(endpoint: URL, outcome: AttemptResult<T>): void {
    this.#running.delete(endpoint)
    if (this.#over) return
    if ('value' in outcome) return void this.#finish(() => this.#resolve(outcome))
    this.#errors.push(outcome.error)
    if (this.#options.isFinal(outcome.error)) return void this.#finish(() => this.#reject(outcome.error))
    if (!this.#askNext() && this.#running.size === 0) this.#finish(() => this.#resolve({ errors: this.#errors }))
  }

  #failed(endpoint: URL, own: AbortController, error: unknown): void {
    // A probe found that it does not answer.
    if (own.signal.aborted && error === own.signal.reason && error instanceof UpstreamError) return void this.#ended(endpoint, { error })
    this.#running.delete(endpoint)
    this.#finish(() => this.#reject(error))
  }

  #finish(settle: () => void): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    // The signal of the winner stays as it is: its body is still to be read.
    for (const { own } of this.#running.values()) own.abort(new Error('another endpoint answered first'))
    settle()
  }
}
