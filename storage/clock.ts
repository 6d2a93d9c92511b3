import { setTimeout as delay } from 'node:timers/promises'

/** Time, as an argument: a test drives it where the process waits. */
export interface Clock {
  /** Milliseconds since the epoch. The system may set this clock back. */
  now(): number
  /** Milliseconds that never go back, for durations. */
  monotonic(): number
  /** Resolves after `ms`; rejects with the reason of `signal` once that is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Runs `task` after `ms`, unless the returned function is called before. It does not keep the process alive. */
  after(ms: number, task: () => void): () => void
}

/** The clock and the timers of the system. */
export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, signal && { signal }).catch(error => {
      signal?.throwIfAborted()
      throw error
    })
  },
  after: (ms, task) => {
    const timer = setTimeout(task, ms).unref()
    return () => clearTimeout(timer)
  }
}
