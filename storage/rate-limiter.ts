import { type Clock, systemClock } from './clock.ts'

/** One of the streams that share a rate limit. */
export interface RateShare {
  /** The most bytes that a stream should ask for at once, where it can choose: a twentieth of a second's worth. */
  readonly chunkBytes: number
  /** Resolves when so many bytes may pass; rejects with the reason of `signal`. */
  take(bytes: number, signal?: AbortSignal): Promise<void>
  /** Lets so many bytes pass without a wait; later ones make up for them. */
  spend(bytes: number): void
}

/** Options of a rate limiter. */
export interface RateLimiterOptions {
  clock?: Pick<Clock, 'monotonic' | 'after'>
  /** Called when a share has waited for so many ms. */
  onWait?: (ms: number) => void
}

interface Waiter {
  start: number
  bytes: number
  resume: () => void
}

// How much unused rate may be used later, in ms of the rate.
const burstMs = 100
const minChunkBytes = 4096
const maxChunkBytes = 1024 * 1024

/**
 * A limit of bytes per second for all its shares together: a token bucket with fair queueing. The stream that has moved
 * the fewest bytes while others waited goes first, so that all get the same rate, whatever they ask for at once.
 */
export class RateLimiter {
  readonly #chunkBytes: number
  readonly #bytesPerMs: number
  readonly #clock: Pick<Clock, 'monotonic' | 'after'>
  readonly #onWait: (ms: number) => void
  readonly #waiters = new Set<Waiter>()
  #tokens: number
  #refilledAt: number
  #timerSet = false
  /**
   * The virtual start time, in bytes, of the stream served last. An idle stream starts here: it cannot save up a lead.
   */
  #virtualTime = 0

  constructor(bytesPerSecond: number, { clock = systemClock, onWait = () => {} }: RateLimiterOptions = {}) {
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#chunkBytes = Math.min(Math.max(Math.floor(bytesPerSecond / 20), minChunkBytes), maxChunkBytes)
    this.#clock = clock
    this.#onWait = onWait
    this.#tokens = this.#bytesPerMs * burstMs
    this.#refilledAt = clock.monotonic()
  }

  /** How many streams wait. */
  get waiting(): number {
    return this.#waiters.size
  }

  /** A share for one more stream; it need not be returned. */
  share(): RateShare {
    let finish = 0
    return {
      chunkBytes: this.#chunkBytes,
      take: async (bytes, signal) => {
        signal?.throwIfAborted()
        const start = Math.max(this.#virtualTime, finish)
        finish = start + bytes
        if (this.#waiters.size === 0 && this.#refill() > 0) return this.#pass(start, bytes)
        try {
          await this.#wait(start, bytes, signal)
        } catch (error) {
          finish -= bytes
          throw error
        }
      },
      spend: bytes => {
        finish = Math.max(this.#virtualTime, finish) + bytes
        this.#tokens -= bytes
      }
    }
  }

  // The tokens may go below zero: the next streams wait for a chunk that is larger than the burst.
  #pass(start: number, bytes: number): void {
    this.#virtualTime = start
    this.#tokens -= bytes
  }

  #refill(): number {
    const now = this.#clock.monotonic()
    this.#tokens = Math.min(this.#tokens + (now - this.#refilledAt) * this.#bytesPerMs, this.#bytesPerMs * burstMs)
    this.#refilledAt = now
    return this.#tokens
  }

  #wait(start: number, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const since = this.#clock.monotonic()
      const leave = () => {
        this.#waiters.delete(waiter)
        signal?.removeEventListener('abort', abort)
        this.#onWait(this.#clock.monotonic() - since)
      }
      const abort = () => {
        leave()
        reject(signal?.reason)
      }
      const resume = () => {
        leave()
        resolve()
      }
      const waiter = { start, bytes, resume }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', abort)
      this.#setTimer()
    })
  }

  // The timer need not keep the process: each waiter has a connection or a file that does.
  #setTimer(): void {
    if (this.#timerSet || this.#waiters.size === 0) return
    this.#timerSet = true
    this.#clock.after(Math.max(1, -this.#tokens / this.#bytesPerMs), () => {
      this.#timerSet = false
      this.#serve()
    })
  }

  #serve(): void {
    this.#refill()
    for (let next = this.#next(); next && this.#tokens > 0; next = this.#next()) {
      this.#pass(next.start, next.bytes)
      next.resume()
    }
    this.#setTimer()
  }

  #next(): Waiter | undefined {
    let next: Waiter | undefined
    for (const each of this.#waiters) if (!next || each.start < next.start) next = each
    return next
  }
}
