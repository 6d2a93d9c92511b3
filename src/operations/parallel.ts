/** The results of a task for each item, as they come, at most `most` at once. After an error or when nobody listens no further one is begun. */
export async function* inParallel<T, R>(items: Iterable<T>, most: number, task: (item: T) => Promise<R>): AsyncGenerator<R, void> {
  const running = new Map<number, Promise<{ id: number; result: R }>>()
  let id = 0
  for (const item of items) {
    const current = id++
    running.set(
      current,
      task(item).then(result => ({ id: current, result }))
    )
    if (running.size >= most) yield await next(running)
  }
  while (running.size > 0) yield await next(running)
}

async function next<R>(running: Map<number, Promise<{ id: number; result: R }>>): Promise<R> {
  const { id, result } = await Promise.race(running.values())
  running.delete(id)
  return result
}
