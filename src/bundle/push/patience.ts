import { setTimeout as delay } from 'node:timers/promises'
import { reasonOf, retryableAfterMs } from '../../oci/errors.ts'

/** How long a target may be away before a push gives up. */
export interface PatienceOptions {
  /** Since the last request that succeeded, in ms. */
  patienceMs: number
  signal: AbortSignal
  /** Told of each wait, and why. */
  onWait: (reason: string, ms: number) => void
  /** Replaced by tests. */
  now?: () => number
  random?: () => number
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

const firstPauseMs = 1_000
const maxPauseMs = 30_000

/** Retries requests that may succeed a little later, as those to a target that restarts or limits its clients. */
export class Patience {
  readonly #options: Required<PatienceOptions>
  /** When a request last succeeded, of all that share the target. */
  #lastSuccess: number

  constructor(options: PatienceOptions) {
    const sleep = async (ms: number, signal: AbortSignal) => void (await delay(ms, undefined, { signal }))
    this.#options = { now: Date.now, random: Math.random, sleep, ...options }
    this.#lastSuccess = this.#options.now()
  }

  /**
   * Does a task until it succeeds. An error that is final is thrown at once, any other one when the patience is over.
   * Pauses grow up to 30 s, with jitter, and are never shorter than the target asks for.
   */
  async run<T>(task: () => Promise<T>): Promise<T> {
    const { signal, now, random, sleep, onWait, patienceMs } = this.#options
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted()
      try {
        const result = await task()
        this.#lastSuccess = now()
        return result
      } catch (error) {
        signal.throwIfAborted()
        const atLeastMs = this.#waitMs(error)
        const wholeMs = Math.min(maxPauseMs, firstPauseMs * 2 ** attempt)
        const ms = Math.max(wholeMs / 2 + (wholeMs / 2) * random(), atLeastMs ?? 0)
        if (atLeastMs === undefined || now() + ms - this.#lastSuccess > patienceMs) throw error
        onWait(reasonOf(error), ms)
        await sleep(ms, signal)
      }
    }
  }

  // A full disk does not become empty while its registry is being pushed to.
  #waitMs(error: unknown): number | undefined {
    const isFull = error instanceof Error && 'status' in error && error.status === 507
    return isFull ? undefined : retryableAfterMs(error)
  }
}
