import type { Clock } from '../../storage/clock.ts'

/**
 * The time that entries are stamped with: the median of the clocks of all replicas, so that one that is wrong does not
 * count. Between two readings of the peers it runs by the monotonic clock: neither a clock that is set nor a partition
 * changes the order in which this replica and those that it knows write.
 */
export class ClusterClock {
  readonly #clock: Clock
  /** How far the clock of each peer is ahead of the monotonic clock here, in ms. */
  readonly #peers = new Map<string, number>()
  /** The same of the cluster clock. */
  #offset: number

  /** `aheadMs`: by how much the cluster clock was ahead of this one when the process last ran. */
  constructor(clock: Clock, aheadMs = 0) {
    this.#clock = clock
    this.#offset = this.#own() + aheadMs
  }

  #own(): number {
    return this.#clock.now() - this.#clock.monotonic()
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return Math.floor(this.#clock.monotonic() + this.#offset)
  }

  /** A peer's clock said `peerNow` in an answer to a question that was asked at `askedAt`, by the monotonic clock. */
  observe(peer: string, peerNow: number, askedAt: number): void {
    const now = this.#clock.monotonic()
    this.#peers.set(peer, peerNow + (now - askedAt) / 2 - now)
    this.#offset = median([this.#own(), ...this.#peers.values()])
  }

  /** Forgets a peer that is no longer configured. */
  forget(peer: string): void {
    this.#peers.delete(peer)
  }

  /** By how many ms a peer's clock is ahead of this one; undefined before its first answer. */
  aheadOf(peer: string): number | undefined {
    const offset = this.#peers.get(peer)
    return offset === undefined ? undefined : Math.round(offset - this.#own())
  }

  /** By how many ms the cluster clock is ahead of this replica's. */
  get aheadMs(): number {
    return Math.round(this.#offset - this.#own())
  }
}

// Of two the mean, on which both agree.
function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2
}
