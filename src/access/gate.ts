/** Lets a fixed number of jobs run at once, and a fixed number wait. */
export interface Gate {
  /** Runs the job, now or in its turn; undefined when too many wait already. */
  run<T>(job: () => Promise<T>): Promise<T> | undefined
}

/** A gate for `running` jobs at once and `waiting` behind them, in the order of their arrival. */
export function createGate(limits: { running: number; waiting: number }): Gate {
  let running = 0
  const queue: (() => void)[] = []

  // The permit passes to the next in line without being returned, so that nobody can slip in between.
  function leave(): void {
    const next = queue.shift()
    if (next) next()
    else running--
  }

  async function guarded<T>(job: () => Promise<T>): Promise<T> {
    try {
      return await job()
    } finally {
      leave()
    }
  }

  return {
    run<T>(job: () => Promise<T>) {
      if (running < limits.running) {
        running++
        return guarded(job)
      }
      if (queue.length >= limits.waiting) return undefined
      return new Promise<T>(resolve => queue.push(() => resolve(guarded(job))))
    }
  }
}
