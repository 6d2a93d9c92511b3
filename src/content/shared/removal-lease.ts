import { type Clock, systemClock } from '../../../storage/clock.ts'
import { acquireLease, type Lease, type LeaseTimes, observeLease } from '../../../storage/lease.ts'
import type { ConditionalObjects } from '../../../storage/storage.ts'
import { type Digest, encodedOf } from '../../oci/digest.ts'
import { removalLease } from '../keys.ts'

/** What the removal lease goes by, in ms. */
export interface RemovalLeaseTimes {
  /** How long an observation of the lease counts. */
  statusTtlMs: number
  /**
   * From acquiring the lease until every other process has observed it: longer than `statusTtlMs`, by more than a
   * process may stand still.
   */
  noticeMs: number
  /** Between two observations while a deletion is pending. */
  pollMs: number
  lease?: LeaseTimes
}

const defaultTimes: RemovalLeaseTimes = { statusTtlMs: 5_000, noticeMs: 10_000, pollMs: 250 }
// A lease that was not renewed for so long belongs to a process that is gone.
const abandonedAfterMs = 90_000
// Of a digest, in announcements. Two digests that share a prefix wait for each other, which is harmless.
const prefixLength = 16

/**
 * Call just before each removal. Throws unless the lease is held for a while yet; returns a signal that is aborted when
 * it is lost.
 */
export type AssertHeld = () => AbortSignal | undefined

/** Another process holds the removal lease. */
export class LeaseHeldError extends Error {
  override readonly name = 'LeaseHeldError'

  constructor() {
    super('another registry over the same bucket holds the removal lease: it runs garbage collection or eviction')
  }
}

/**
 * The lease under which one of several processes that share a storage removes. Holds are known to one process only. So
 * the holder waits until all others have observed the lease, and announces each deletion before it checks the age of
 * the bytes for the last time. A process that is about to report content renews its time first, waits while its
 * deletion is pending, and then checks that it still exists: from then on its age protects it.
 */
export class RemovalLease {
  readonly #objects: ConditionalObjects
  readonly #times: RemovalLeaseTimes
  readonly #clock: Clock
  /** Of this process, from the first `acquire` on. */
  #lease: Promise<Lease | undefined> | undefined
  #users = 0
  /** How far the storage's clock is ahead of ours. */
  #aheadMs = 0
  /** Set while removals are allowed. */
  #held: Lease | undefined
  #status: { at: number; heldElsewhere: Promise<boolean> } | undefined
  #observed = { version: '', since: 0 }
  #epoch = 0

  constructor(objects: ConditionalObjects, times: RemovalLeaseTimes = defaultTimes, clock: Clock = systemClock) {
    this.#objects = objects
    this.#times = times
    this.#clock = clock
  }

  /**
   * Acquires the lease, or joins the one that this process holds; the returned function releases it. Throws
   * LeaseHeldError.
   */
  async acquire(): Promise<() => Promise<void>> {
    this.#users++
    this.#lease ??= this.#begin()
    const lease = await this.#lease.catch(async error => {
      await this.#leave()
      throw error
    })
    if (!lease) {
      await this.#leave()
      throw new LeaseHeldError()
    }
    let open = true
    return async () => {
      if (!open) return
      open = false
      await this.#leave()
    }
  }

  async #begin(): Promise<Lease | undefined> {
    const lease = await acquireLease(this.#objects, removalLease, this.#times.lease, this.#clock)
    if (!lease) return undefined
    try {
      this.#aheadMs = (await this.#objects.now()) - this.#clock.now()
    } catch (error) {
      await lease.release()
      throw error
    }
    await this.#clock.sleep(this.#times.noticeMs)
    this.#held = lease
    return lease
  }

  async #leave(): Promise<void> {
    if (--this.#users > 0) return
    const lease = await this.#lease?.catch(() => undefined)
    // Another user may have joined meanwhile.
    if (this.#users > 0) return
    this.#lease = undefined
    this.#held = undefined
    await lease?.release()
  }

  /**
   * The time by the storage's clock, and never ahead of it, while this process holds the lease. In ms since the epoch.
   */
  now(): number {
    return this.#clock.now() + Math.min(this.#aheadMs, 0)
  }

  /**
   * Makes `digests` pending deletions and runs `task`, which checks their age and removes some, once every other
   * process can see that. After a failure the announcement stands until the lease expires, because a removal may still
   * take effect. Where the lease itself is lost no other process waits any more, so nothing may be removed after that:
   * see AssertHeld.
   */
  async announce<T>(digests: readonly Digest[], task: (assertHeld: AssertHeld) => Promise<T>): Promise<T> {
    const lease = await this.#lease
    if (!lease) throw new Error('nothing is removed from a shared storage without the removal lease')
    await lease.announce(digests.map(prefixOf))
    try {
      const result = await task(() => {
        lease.check()
        return lease.signal
      })
      // Processes that wait for some of the digests go on.
      await lease.announce([])
      return result
    } catch (error) {
      const lost = lease.signal.aborted ? lease.signal.reason : undefined
      lease.abandon()
      throw lost ?? error
    }
  }

  /**
   * Grows when an observation shows that another process has held the lease since the one before: what it removed may
   * be cached here.
   */
  get epoch(): number {
    return this.#epoch
  }

  /** Whether another process may be removing. */
  async heldElsewhere(): Promise<boolean> {
    if (this.#held && !this.#held.signal.aborted) return false
    const now = this.#clock.monotonic()
    if (!this.#status || now - this.#status.at > this.#times.statusTtlMs) {
      const status = { at: now, heldElsewhere: this.#observe() }
      this.#status = status
      status.heldElsewhere.catch(() => {
        if (this.#status === status) this.#status = undefined
      })
    }
    return this.#status.heldElsewhere
  }

  async #observe(): Promise<boolean> {
    const seen = await observeLease(this.#objects, removalLease)
    const [version, now] = [seen?.version ?? '', this.#clock.monotonic()]
    if (version !== this.#observed.version) {
      this.#observed = { version, since: now }
      this.#epoch++
    }
    return seen?.held === true && now - this.#observed.since < abandonedAfterMs
  }

  /** Resolves when none of `digests`, whose times were renewed before, is a pending deletion of another process. */
  async waitWhilePending(digests: readonly Digest[]): Promise<void> {
    const prefixes = new Set(digests.map(prefixOf))
    let [version, since] = ['', this.#clock.monotonic()]
    for (;;) {
      const seen = await observeLease(this.#objects, removalLease)
      if (!seen?.held || !seen.announced.some(each => prefixes.has(each))) return
      if (seen.version !== version) [version, since] = [seen.version, this.#clock.monotonic()]
      else if (this.#clock.monotonic() - since > abandonedAfterMs) return
      await this.#clock.sleep(this.#times.pollMs)
    }
  }
}

const prefixOf = (digest: Digest): string => encodedOf(digest).slice(0, prefixLength)
