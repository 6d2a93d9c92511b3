import type { Storage } from '../../../storage/storage.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import type { Commit } from '../commit.ts'
import { capacityOf, type FillCapacity } from './capacity.ts'
import { Fill, type FillContext, type FillResult, type FillSource } from './fill.ts'
import { FillReservations } from './reservations.ts'
import { type CacheShares, undivided } from './shares.ts'

/** How a fill ended, for log and metrics. */
export interface FillEvent {
  digest: Digest
  upstream: string
  result: FillResult
  bytes: number
  ms: number
  error?: Error
}

/** Why no fill was started: no fill slot was free, or the storage had an I/O error a moment ago. */
export type NoFillReason = 'slots' | 'paused'

/** What `Fills` may be told. */
export interface FillsOptions {
  /** The time, in ms since the epoch. */
  now?: () => number
  /** Without it, what the storage has. */
  capacity?: FillCapacity
  /** The upstreams among which capacity and fill slots are shared. */
  shares?: CacheShares
  onNone?: (reason: NoFillReason) => void
}

// After an I/O error of the storage, no fill is started for this long.
const pauseMs = 10_000

/** The fills of the process, one per digest. */
export class Fills {
  readonly #context: FillContext
  readonly #running = new Map<Digest, Fill>()
  /** How many of each upstream are running. */
  readonly #slots = new Map<string, number>()
  /** The running ones, and those that have failed and still clean up. */
  readonly #unfinished = new Set<Fill>()
  readonly #reservations: FillReservations
  readonly #onEnd: (event: FillEvent) => void
  readonly #onNone: (reason: NoFillReason) => void
  readonly #now: () => number
  readonly #shares: CacheShares
  #pausedUntil = 0

  constructor(
    storage: Storage,
    commit: Commit,
    onEnd: (event: FillEvent) => void,
    { now = Date.now, capacity = capacityOf(storage), shares = undivided, onNone = () => {} }: FillsOptions = {}
  ) {
    this.#reservations = new FillReservations(capacity, () => stagingShare(storage.stagingBytes, shares.upstreams().size))
    this.#context = {
      storage,
      commit,
      admit: (fill, size) => this.#reservations.admit(fill, fill.share, size),
      secure: (fill, end) => this.#reservations.secure(fill, end),
      onEnd: this.#ended.bind(this)
    }
    this.#onEnd = onEnd
    this.#onNone = onNone
    this.#now = now
    this.#shares = shares
  }

  /** How many fills are running. */
  get running(): number {
    return this.#running.size
  }

  /** The fill of `digest`, if there is one. */
  find(digest: Digest): Fill | undefined {
    return this.#running.get(digest)
  }

  /**
   * Starts a fill. Undefined if no fill slot is free, or if the storage had an I/O error a moment ago. `maxFills` slots
   * are for all upstreams, and where others have taken them, each still has an equal part of as many.
   */
  start(
    wanted: { digest: Digest; name: Name; upstream: string; maxFills: number },
    open: (signal: AbortSignal) => Promise<FillSource>
  ): Fill | undefined {
    const now = this.#now()
    if (now < this.#pausedUntil) return this.#none('paused')
    const share = this.#shares.upstreamOf(wanted.name)
    const taken = this.#slots.get(share) ?? 0
    if (this.#running.size >= wanted.maxFills && taken >= this.#ownSlots(wanted.maxFills)) return this.#none('slots')
    const fill = new Fill(this.#context, { ...wanted, share, now }, open)
    this.#running.set(wanted.digest, fill)
    this.#slots.set(share, taken + 1)
    this.#unfinished.add(fill)
    void fill.done.then(() => this.#unfinished.delete(fill))
    return fill
  }

  #ownSlots(maxFills: number): number {
    const sharing = this.#shares.upstreams().size
    return sharing > 1 ? Math.max(1, Math.floor(maxFills / sharing)) : 0
  }

  #none(reason: NoFillReason): undefined {
    this.#onNone(reason)
    return undefined
  }

  #ended(fill: Fill, result: FillResult, error?: Error): void {
    const now = this.#now()
    this.#running.delete(fill.digest)
    this.#reservations.release(fill, result === 'stored' ? 'stored' : 'failed')
    const taken = (this.#slots.get(fill.share) ?? 0) - 1
    if (taken > 0) this.#slots.set(fill.share, taken)
    else this.#slots.delete(fill.share)
    if (result === 'medium') this.#pausedUntil = now + pauseMs
    const { digest, upstream, offset: bytes } = fill
    this.#onEnd({ digest, upstream, result, bytes, ms: now - fill.startedAt, ...(error ? { error } : {}) })
  }

  /** Cancels all fills; resolves when they have cleaned up. */
  async close(): Promise<void> {
    const all = [...this.#unfinished]
    for (const fill of all) fill.cancel(new Error('the registry stops'))
    await Promise.all(all.map(fill => fill.done))
  }
}

// Half of it is for all upstreams, and of the other half an equal part is kept for each.
function stagingShare(bytes = Number.POSITIVE_INFINITY, upstreams: number): number {
  return (bytes * (upstreams + 1)) / (2 * Math.max(1, upstreams))
}
