/** Runs a task as soon as a permit is free. The result is that of the task. */
export type Semaphore = <T>(task: () => Promise<T>) => Promise<T>

/** A semaphore with `permits` permits: so many tasks run at once, the others wait in the order of their calls. */
export function createSemaphore(permits: number): Semaphore {
  const waiting: (() => void)[] = []
  let running = 0
  return async task => {
    if (running >= permits) await new Promise<void>(resolve => waiting.push(resolve))
    else running++
    try {
      return await task()
    } finally {
      // The permit passes to the next task without being returned, so that a later call cannot overtake.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
