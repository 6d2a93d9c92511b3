// Enough for a 90th percentile, and forgotten within one pull.
const kept = 128
const needed = 8
// Less would ask a second replica for what the first one fetches from its upstream, and more would be felt.
const shortestMs = 100
const longestMs = 1_000
const withoutSamplesMs = 500
const renewedAfter = 16

/** How long replicas lately took to the head of a response. */
export class HeadTimes {
  readonly #samples: number[] = []
  #next = 0
  #sinceRenewal = 0
  #hedgeAfterMs = withoutSamplesMs

  add(ms: number): void {
    this.#samples[this.#next] = ms
    this.#next = (this.#next + 1) % kept
    if (++this.#sinceRenewal < renewedAfter && this.#samples.length > needed) return
    this.#sinceRenewal = 0
    if (this.#samples.length >= needed) this.#hedgeAfterMs = Math.min(Math.max(2 * this.#percentile(0.9), shortestMs), longestMs)
  }

  /** Twice the 90th percentile, from 100 ms to a second: after which a response is hedged. */
  get hedgeAfterMs(): number {
    return this.#hedgeAfterMs
  }

  #percentile(part: number): number {
    const sorted = this.#samples.toSorted((a, b) => a - b)
    return sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] ?? 0
  }
}
