/** Runs a task when those before it with the same key have ended. */
export type KeyedMutex = <T>(key: string, task: () => Promise<T>) => Promise<T>

/** Runs tasks of the same key one after another. Never held while a body is copied. */
export function createLocks(): KeyedMutex {
  const tails = new Map<string, Promise<unknown>>()
  return (key, task) => {
    const before = tails.get(key) ?? Promise.resolve()
    const result = before.then(task, task)
    const tail = result.then(
      () => {},
      () => {}
    )
    tails.set(key, tail)
    void tail.then(() => {
      if (tails.get(key) === tail) tails.delete(key)
    })
    return result
  }
}
