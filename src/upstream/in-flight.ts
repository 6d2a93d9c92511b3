/** What is under way, so that its end can be waited for. */
export class InFlight {
  #count = 0
  #closed = false
  #idle: (() => void) | undefined

  get closed(): boolean {
    return this.#closed
  }

  /** Counts one more; the function returned is called when it has ended. */
  begin(): () => void {
    this.#count++
    return () => {
      this.#count--
      if (this.#count === 0) this.#idle?.()
    }
  }

  /** Resolves when nothing is under way. */
  close(): Promise<void> {
    this.#closed = true
    if (this.#count === 0) return Promise.resolve()
    return new Promise(resolve => {
      const before = this.#idle
      this.#idle = () => {
        before?.()
        resolve()
      }
    })
  }
}
