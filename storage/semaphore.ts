/** Runs at most `most` tasks at once; the others wait in order. */
export function createSemaphore(most: number): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async task => {
    if (running >= most) await new Promise<void>(resolve => waiting.push(resolve))
    else running++
    try {
      return await task()
    } finally {
      // The place is handed over, so that nobody who comes later overtakes.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
