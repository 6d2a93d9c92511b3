import type { Clock } from '../../storage/clock.ts'

/** A clock that stands still until a test moves it. */
export interface TestClock extends Clock {
  /**
   * Moves the time on, and runs what is due on the way in the order of its times. Resolves when what it woke has had a
   * turn.
   */
  advance(ms: number): Promise<void>
  /** When the next sleep or task is due, by `now`. */
  readonly nextDue: number | undefined
  /** How many sleeps and tasks wait for their time. */
  readonly waiting: number
  /** Resolves when at least `count` sleeps and tasks wait. */
  whenWaiting(count?: number): Promise<void>
}

const turn = () => new Promise<void>(resolve => void setImmediate(resolve))

/** A clock for tests that begins at `start`, in ms since the epoch. */
export function createTestClock(start = Date.now()): TestClock {
  const timers = new Set<{ due: number; task: () => void }>()
  let time = start
  const after = (ms: number, task: () => void) => {
    const timer = { due: time + Math.max(0, ms), task }
    timers.add(timer)
    return () => void timers.delete(timer)
  }
  const earliest = (until: number) => [...timers].filter(each => each.due <= until).sort((a, b) => a.due - b.due)[0]
  return {
    now: () => time,
    monotonic: () => time - start,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const cancel = after(ms, resolve)
        signal?.addEventListener('abort', () => {
          cancel()
          reject(signal.reason)
        })
      }),
    get nextDue() {
      return earliest(Number.POSITIVE_INFINITY)?.due
    },
    get waiting() {
      return timers.size
    },
    whenWaiting: async (count = 1) => {
      while (timers.size < count) await turn()
    },
    advance: async ms => {
      // Work that has just begun sees the time before.
      await turn()
      const until = time + ms
      for (let timer = earliest(until); timer; timer = earliest(until)) {
        timers.delete(timer)
        time = Math.max(time, timer.due)
        timer.task()
        await turn()
      }
      time = until
      await turn()
    }
  }
}
