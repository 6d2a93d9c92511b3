/** Runs tasks of the same key one after another. */
export class Turns {
  readonly #tails = new Map<string, Promise<unknown>>()

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    for (let tail = this.#tails.get(key); tail; tail = this.#tails.get(key)) await tail
    const work = task()
    const tail = work.then(
      () => this.#tails.delete(key),
      () => this.#tails.delete(key)
    )
    this.#tails.set(key, tail)
    return work
  }
}
