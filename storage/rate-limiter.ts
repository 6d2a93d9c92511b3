/** One stream of bytes among those that share a rate. */
export interface RateShare {
  /** As much as should be asked for at once, where the stream can choose: a twentieth of a second. */
  readonly chunkBytes: number
  /** Resolves when so many bytes may move; rejects with the signal's reason. */
  take(bytes: number, signal?: AbortSignal): Promise<void>
  /** Bytes that move without waiting; what comes later waits for them as well. */
  spend(bytes: number): void
}

/** What a rate takes from outside; the defaults are the real ones. */
export interface RateLimiterOptions {
  /** In ms, never going back. */
  now?: () => number
  /** Runs `task` once, `ms` from now. */
  after?: (ms: number, task: () => void) => void
  /** A share had to wait for so many ms. */
  onWait?: (ms: number) => void
}

interface Waiting {
  start: number
  bytes: number
  go: () => void
}

// What was not used may be used later, but not more of it: a burst of this many ms.
const burst = 100
const smallestPiece = 4096
const largestPiece = 1024 * 1024

/**
 * A limit of bytes per second for many streams together: a token bucket that lets the stream go first that has moved the least while others waited, so that all get the
 * same number of bytes, whatever they ask for at once.
 */
export class RateLimiter {
  readonly #piece: number
  readonly #perMs: number
  readonly #now: () => number
  readonly #after: (ms: number, task: () => void) => void
  readonly #waited: (ms: number) => void
  readonly #waiting = new Set<Waiting>()
  #tokens: number
  #at: number
  #armed = false
  /** Where the stream stands that went last; one that was idle begins here, and cannot save up turns. */
  #turn = 0

  constructor(
    bytesPerSecond: number,
    { now = () => performance.now(), after = later, onWait: waited = () => {} }: RateLimiterOptions = {}
  ) {
    this.#perMs = bytesPerSecond / 1000
    this.#piece = Math.min(Math.max(Math.floor(bytesPerSecond / 20), smallestPiece), largestPiece)
    this.#now = now
    this.#after = after
    this.#waited = waited
    this.#tokens = this.#perMs * burst
    this.#at = now()
  }

  /** How many streams wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** For one more stream; there is nothing to give back. */
  share(): RateShare {
    let finish = 0
    return {
      chunkBytes: this.#piece,
      take: async (bytes, signal) => {
        signal?.throwIfAborted()
        const start = Math.max(this.#turn, finish)
        finish = start + bytes
        if (this.#waiting.size === 0 && this.#refill() > 0) return this.#pass(start, bytes)
        try {
          await this.#wait(start, bytes, signal)
        } catch (error) {
          finish -= bytes
          throw error
        }
      },
      spend: bytes => {
        finish = Math.max(this.#turn, finish) + bytes
        this.#tokens -= bytes
      }
    }
  }

  // It may go below zero: a piece that is larger than the burst is waited for by whoever comes next.
  #pass(start: number, bytes: number): void {
    this.#turn = start
    this.#tokens -= bytes
  }

  #refill(): number {
    const now = this.#now()
    this.#tokens = Math.min(this.#tokens + (now - this.#at) * this.#perMs, this.#perMs * burst)
    this.#at = now
    return this.#tokens
  }

  #wait(start: number, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const since = this.#now()
      const leave = () => {
        this.#waiting.delete(waiting)
        signal?.removeEventListener('abort', abort)
        this.#waited(this.#now() - since)
      }
      const abort = () => {
        leave()
        reject(signal?.reason)
      }
      const go = () => {
        leave()
        resolve()
      }
      const waiting = { start, bytes, go }
      this.#waiting.add(waiting)
      signal?.addEventListener('abort', abort)
      this.#arm()
    })
  }

  #arm(): void {
    if (this.#armed || this.#waiting.size === 0) return
    this.#armed = true
    this.#after(Math.max(1, -this.#tokens / this.#perMs), () => {
      this.#armed = false
      this.#serve()
    })
  }

  #serve(): void {
    this.#refill()
    for (let next = this.#next(); next && this.#tokens > 0; next = this.#next()) {
      this.#pass(next.start, next.bytes)
      next.go()
    }
    this.#arm()
  }

  #next(): Waiting | undefined {
    let next: Waiting | undefined
    for (const each of this.#waiting) if (!next || each.start < next.start) next = each
    return next
  }
}

// Whoever waits has a connection or a file that keeps the process; this alone must not.
function later(ms: number, task: () => void): void {
  setTimeout(task, ms).unref()
}
