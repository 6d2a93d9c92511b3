/** One task for all who ask for the same at the same time; whoever joins is told so. */
export class SingleFlight<T> {
  readonly #running = new Map<string, Promise<T>>()

  /** There is no `await` between looking and starting. */
  async run(key: string, task: () => Promise<T>): Promise<{ value: T; joined: boolean }> {
    const running = this.#running.get(key)
    if (running) return { value: await running, joined: true }
    const work = task().finally(() => this.#running.delete(key))
    this.#running.set(key, work)
    return { value: await work, joined: false }
  }
}
