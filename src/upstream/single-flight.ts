/**
 * Single-flight: one task for all that request the same key at the same time. Its waiters are requests under way, of
 * which a connection has one; with a signal, one whose client leaves stops waiting.
 */
export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>()

  /** `joined` tells that another call had started the task. Nothing is awaited between the lookup and the start. */
  async run(key: string, task: () => Promise<T>, signal?: AbortSignal): Promise<{ value: T; joined: boolean }> {
    const wait = (work: Promise<T>) => (signal ? abortable(work, signal) : work)
    const running = this.#running.get(key)
    if (running) return { value: await wait(running), joined: true }
    const work = task().finally(() => this.#running.delete(key))
    this.#running.set(key, work)
    return { value: await wait(work), joined: false }
  }
}

/** Waits for a task that others may wait for too: the signal ends the waiting, not the task. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason)
    if (signal.aborted) leave()
    signal.addEventListener('abort', leave, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}
