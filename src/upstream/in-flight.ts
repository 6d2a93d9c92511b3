/** Counts tasks in flight, so that closing can wait for them. */
export class InFlight {
  #count = 0
  #closed = false
  #idle: (() => void) | undefined

  get closed(): boolean {
    return this.#closed
  }

  /** Counts a task; call the returned function once when it has ended. */
  begin(): () => void {
    this.#count++
    return () => {
      this.#count--
      if (this.#count === 0) this.#idle?.()
    }
  }

  /** Resolves when no task is in flight. Later tasks are the caller's to refuse. */
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
