import { type Clock, systemClock } from '../../../storage/clock.ts'

// Work between two pauses: long enough to be worth a timer, short enough to go unnoticed.
const workMs = 10
// While requests run, background work takes a quarter of the time. A step that took longer than `workMs` has waited for
// them already.
const pauseMs = 3 * workMs

/** Gives way to requests between two pieces of background work. */
export interface Yield {
  /** Call between small pieces of work. Rejects with the signal's reason once it is aborted. */
  step(): Promise<void>
}

/** Pauses while `busy`; otherwise only lets other work of this process run. */
export function createYield(
  signal: AbortSignal,
  busy: () => boolean,
  { monotonic, sleep }: Pick<Clock, 'monotonic' | 'sleep'> = systemClock
): Yield {
  let resumedAt = monotonic()
  return {
    step: async () => {
      signal.throwIfAborted()
      if (monotonic() - resumedAt < workMs) return
      await sleep(busy() ? pauseMs : 0, signal)
      resumedAt = monotonic()
    }
  }
}
