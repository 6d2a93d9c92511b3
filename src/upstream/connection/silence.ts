/** Tells when the reader of a body has waited for long. What it does not wait for does not count. */
export class Silence {
  readonly #timer: NodeJS.Timeout
  #sinceMs: number | undefined

  /** Calls `tell` each time that `ms` more have passed within one wait. */
  constructor(ms: number, tell: () => void) {
    this.#timer = setTimeout(() => {
      if (this.#sinceMs === undefined) return
      this.#timer.refresh()
      tell()
    }, ms).unref()
  }

  /** How long the wait has taken, in ms; 0 if there is none. */
  get elapsedMs(): number {
    return this.#sinceMs === undefined ? 0 : performance.now() - this.#sinceMs
  }

  begin(): void {
    this.#sinceMs = performance.now()
    this.#timer.refresh()
  }

  end(): void {
    this.#sinceMs = undefined
  }

  close(): void {
    this.#sinceMs = undefined
    clearTimeout(this.#timer)
  }
}
