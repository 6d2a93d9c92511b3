import { setTimeout as delay } from 'node:timers/promises'
import { acquireLease, type Lease, type LeaseTimes, observeLease } from '../../../storage/lease.ts'
import type { ConditionalObjects, Storage } from '../../../storage/storage.ts'
import { type Digest, encodedOf } from '../../oci/digest.ts'
import { removalLease } from '../keys.ts'

/** What a turn goes by, in ms. */
export interface RemovalLeaseTimes {
  /** How long what was seen of the others counts. */
  statusTtlMs: number
  /** From the beginning of a turn until all others know of it: longer than `seen`, by more than a process may stand still. */
  noticeMs: number
  /** While one waits for another's removal. */
  pollMs: number
  lease?: LeaseTimes
}

const usualTimes: RemovalLeaseTimes = { statusTtlMs: 5_000, noticeMs: 10_000, pollMs: 250 }
// Without a sign of life for so long whoever said that something leaves is gone.
const patience = 90_000
// Enough of a digest: two that begin alike wait for each other, which harms nobody.
const told = 16

/** Called just before something is removed: throws if the turn is not ours for a while yet, and gives what is aborted when it is not ours any more. */
export type AssertHeld = () => AbortSignal | undefined

/** Another process removes from the same store. */
export class LeaseHeldError extends Error {
  override readonly name = 'LeaseHeldError'

  constructor() {
    super('another registry over the same bucket is removing what nobody needs: it is its turn')
  }
}

/**
 * Who may remove, where several processes have one store. Holds are known to one process only. So whoever removes has a lease, waits until all others know of it, and says
 * in it what is about to leave before its age is looked at for the last time. Whoever relies on bytes while another has the turn renews their time first, then waits until they are not
 * about to leave, and looks whether they are there: after that their age protects them. Where the store is ours alone there is nothing to agree on.
 */
export class RemovalLease {
  readonly #storage: Storage
  readonly #times: RemovalLeaseTimes
  #lease: Promise<Lease | undefined> | undefined
  #users = 0
  #clock = { ahead: 0 }
  #mine: Lease | undefined
  #seen: { at: number; held: Promise<boolean> } | undefined
  #last = { version: '', since: 0 }
  #changes = 0

  constructor(storage: Storage, times: RemovalLeaseTimes = usualTimes) {
    this.#storage = storage
    this.#times = times
  }

  /** Takes the turn, or shares it within this process; the function gives it back. Throws LeaseHeldError. */
  async acquire(): Promise<() => Promise<void>> {
    if (!this.#storage.conditionalObjects) return async () => {}
    this.#users++
    this.#lease ??= this.#begin()
    const lease = await this.#lease.catch(async error => {
      await this.#done()
      throw error
    })
    if (!lease) {
      await this.#done()
      throw new LeaseHeldError()
    }
    let open = true
    return async () => {
      if (!open) return
      open = false
      await this.#done()
    }
  }

  async #begin(): Promise<Lease | undefined> {
    const { conditionalObjects: agreement } = this.#storage
    const lease = agreement && (await acquireLease(agreement, removalLease, this.#times.lease))
    if (!lease) return undefined
    try {
      this.#clock = { ahead: (await agreement.now()) - Date.now() }
    } catch (error) {
      await lease.release()
      throw error
    }
    await delay(this.#times.noticeMs)
    this.#mine = lease
    return lease
  }

  async #done(): Promise<void> {
    if (--this.#users > 0) return
    const lease = await this.#lease?.catch(() => undefined)
    // Somebody may have come meanwhile.
    if (this.#users > 0) return
    this.#lease = undefined
    this.#mine = undefined
    await lease?.release()
  }

  /** The time by the clock of the store, and never ahead of it, while this process has the turn. */
  now(): number {
    return Date.now() + (this.#storage.conditionalObjects ? Math.min(this.#clock.ahead, 0) : 0)
  }

  /**
   * Runs `task`, which looks at the age of `digests` and removes some, when all others can know that they are about to leave. What a removal that failed still does
   * happens while they wait; where it is the turn that is lost, nobody waits any more, so that nothing may be asked for after that.
   */
  async announce<T>(digests: readonly Digest[], task: (stillOurs: AssertHeld) => Promise<T>): Promise<T> {
    if (!this.#storage.conditionalObjects) return task(() => undefined)
    const lease = await this.#lease
    if (!lease) throw new Error('nothing is removed from a shared store without the turn')
    await lease.announce(digests.map(short))
    try {
      const result = await task(() => {
        lease.check()
        return lease.signal
      })
      // Whoever waits for some of them goes on.
      await lease.announce([])
      return result
    } catch (error) {
      const lost = lease.signal.aborted ? lease.signal.reason : undefined
      lease.abandon()
      throw lost ?? error
    }
  }

  /** Grows when a look finds that somebody has had the turn since the look before it: what others removed meanwhile may be remembered here. */
  get epoch(): number {
    return this.#changes
  }

  /** Whether another process may be removing. */
  async heldElsewhere(): Promise<boolean> {
    const { conditionalObjects: agreement } = this.#storage
    if (!agreement || (this.#mine && !this.#mine.signal.aborted)) return false
    const now = performance.now()
    if (!this.#seen || now - this.#seen.at > this.#times.statusTtlMs) {
      const seen = { at: now, held: this.#look(agreement) }
      this.#seen = seen
      seen.held.catch(() => {
        if (this.#seen === seen) this.#seen = undefined
      })
    }
    return this.#seen.held
  }

  // A lease that nobody renews belongs to a process that is gone.
  async #look(agreement: ConditionalObjects): Promise<boolean> {
    const seen = await observeLease(agreement, removalLease)
    const [version, now] = [seen?.version ?? '', performance.now()]
    if (version !== this.#last.version) {
      this.#last = { version, since: now }
      this.#changes++
    }
    if (!seen?.held) return false
    return now - this.#last.since < patience
  }

  /** Resolves when none of `digests`, whose times were renewed before, is about to be removed by another process. */
  async waitWhilePending(digests: readonly Digest[]): Promise<void> {
    const { conditionalObjects: agreement } = this.#storage
    if (!agreement) return
    const names = new Set(digests.map(short))
    let [version, since] = ['', performance.now()]
    for (;;) {
      const seen = await observeLease(agreement, removalLease)
      if (!seen?.held || !seen.announced.some(each => names.has(each))) return
      if (seen.version !== version) [version, since] = [seen.version, performance.now()]
      else if (performance.now() - since > patience) return
      await delay(this.#times.pollMs)
    }
  }
}

const short = (digest: Digest): string => encodedOf(digest).slice(0, told)
