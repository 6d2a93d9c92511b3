import { setTimeout as delay } from 'node:timers/promises'

// ms of work after which there is a pause: long enough to be worth a timer, short enough for nobody to notice.
const stretch = 10
// While requests run, work takes a quarter of the time; what took longer than its stretch has waited for them already.
const pause = 3 * stretch

/** How fast work in the background may go on, and whether at all. */
export interface Yield {
  /** Called between small pieces of work; rejects with the signal's reason once it is aborted. */
  step(): Promise<void>
}

/** Leaves the disk to requests while `busy`, and goes on without a pause otherwise. */
export function createYield(signal: AbortSignal, busy: () => boolean, now: () => number = () => performance.now()): Yield {
  let resumed = now()
  return {
    step: async () => {
      signal.throwIfAborted()
      if (now() - resumed < stretch) return
      await delay(busy() ? pause : 0, undefined, { signal }).catch(() => signal.throwIfAborted())
      resumed = now()
    }
  }
}
