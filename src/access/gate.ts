import { createSemaphore } from '../../storage/semaphore.ts'

/** A semaphore with a bounded queue. */
export interface Gate {
  /** Runs the job at once or in its turn; undefined when the queue is full. */
  run<T>(job: () => Promise<T>): Promise<T> | undefined
}

/** Creates a gate for `running` jobs at once and a queue of `waiting` jobs, in the order of arrival. */
export function createGate(limits: { running: number; waiting: number }): Gate {
  const semaphore = createSemaphore(limits.running)
  let jobs = 0
  return {
    run(job) {
      if (jobs >= limits.running + limits.waiting) return undefined
      jobs++
      return semaphore(job).finally(() => jobs--)
    }
  }
}
