import { LRUCache } from 'lru-cache'
import type { Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import * as keys from './keys.ts'
import type { Coordination } from './shared/coordination.ts'
import type { AssertHeld } from './shared/removal-lease.ts'

const defaultGraceMs = 3_600_000
const maxRenewals = 50_000
// A removal that was decided before bytes got a new time has ended so long after it.
const removalMs = 120_000

/** When a client was last told of bytes, when they were last given a new time, and whether the storage took it. */
interface Renewal {
  reportedAt: number
  touchedAt: number
  done: Promise<boolean>
}

/**
 * Claims on digests. A task holds the bytes that it reads, publishes or links. A removal does not begin while its
 * digest is held, and a hold that comes after it has begun waits for its end. There is no lock on the storage: all
 * other digests go on.
 */
export class Holds {
  readonly #storage: Storage
  readonly #coordination: Coordination
  readonly #held = new Map<Digest, number>()
  readonly #removing = new Map<Digest, Promise<unknown>>()
  readonly #watchers = new Set<(digest: Digest) => void>()
  readonly #renewals = new LRUCache<Digest, Renewal>({ max: maxRenewals })
  readonly #now: () => number
  #renewAfterMs: number

  constructor(storage: Storage, coordination: Coordination, now: () => number = Date.now) {
    this.#storage = storage
    this.#coordination = coordination
    this.#now = now
    this.#renewAfterMs = coordination.renewAfterMs(defaultGraceMs)
  }

  /**
   * Keeps the bytes of `digest`, if there are any, until the returned function is called. Check that they exist after
   * this.
   */
  async hold(digest: Digest): Promise<() => void> {
    for (let removing = this.#removing.get(digest); removing; removing = this.#removing.get(digest)) await removing
    this.#held.set(digest, (this.#held.get(digest) ?? 0) + 1)
    for (const onHold of this.#watchers) onHold(digest)
    let open = true
    return () => {
      if (!open) return
      open = false
      const left = (this.#held.get(digest) ?? 0) - 1
      if (left > 0) this.#held.set(digest, left)
      else this.#held.delete(digest)
    }
  }

  /** `hold` for several digests; the returned function releases all of them. */
  async holdAll(digests: Iterable<Digest>): Promise<() => void> {
    const releases: (() => void)[] = []
    for (const digest of digests) releases.push(await this.hold(digest))
    return () => {
      for (const release of releases) release()
    }
  }

  /** Holds `digest` while `task` runs. */
  async during<T>(digest: Digest, task: () => Promise<T>): Promise<T> {
    const release = await this.hold(digest)
    try {
      return await task()
    } finally {
      release()
    }
  }

  /** Sets GC's grace period, in ms: younger bytes are not removed. */
  setGrace(graceMs: number): void {
    this.#renewAfterMs = this.#coordination.renewAfterMs(graceMs)
  }

  /**
   * Makes bytes as new as if they had just been pushed, or nearly so in a shared storage: a client was told of them and
   * may be about to rely on that. `modified` is their time, if it is known. Resolves to whether the storage took the
   * new time; GC in this process knows it in any case.
   */
  renew(digest: Digest, modified = 0): Promise<boolean> {
    return this.during(digest, async () => {
      const now = this.#now()
      const known = this.#renewals.get(digest)
      if (known) known.reportedAt = now
      // On a disk a touch is cheap, and what is left out here would be missing from the grace period after a crash.
      if (this.#coordination.touchCostsRequest && now - modified < this.#renewAfterMs) {
        if (!known) this.#renewals.set(digest, { reportedAt: now, touchedAt: 0, done: Promise.resolve(true) })
        return true
      }
      // A touch that is under way is waited for, not repeated.
      if (known && now - known.touchedAt < this.#renewAfterMs) return known.done
      const renewal: Renewal = { reportedAt: now, touchedAt: now, done: this.#touch(digest) }
      this.#renewals.set(digest, renewal)
      const done = await renewal.done
      if (!done) renewal.touchedAt = 0
      return done
    })
  }

  #touch(digest: Digest): Promise<boolean> {
    return this.#storage.touch([keys.blob(digest)]).then(
      () => true,
      () => false
    )
  }

  /** Whether bytes of this time may be a pending deletion of another process, or have just been saved from one. */
  mayBePending(modified: number): boolean {
    const age = this.#now() - modified
    return age < removalMs || age >= this.#renewAfterMs
  }

  /**
   * When a client was last told of `digest`, in ms since the epoch, as far as this process remembers. The stored time
   * may be older by the time for which renewals are not repeated.
   */
  renewedAt(digest: Digest): number {
    return this.#renewals.peek(digest)?.reportedAt ?? 0
  }

  /**
   * Calls `onHold` for each digest that is held now, and for each hold from now on before it takes effect; the returned
   * function ends that.
   */
  watch(onHold: (digest: Digest) => void): () => void {
    for (const digest of this.#held.keys()) onHold(digest)
    this.#watchers.add(onHold)
    return () => void this.#watchers.delete(onHold)
  }

  /**
   * Runs `task`, which may remove the bytes of `digest` and resolves to whether it did, while holds wait. False without
   * running it if they are held or being removed.
   */
  async remove(digest: Digest, task: () => Promise<boolean>): Promise<boolean> {
    if (this.#held.has(digest) || this.#removing.has(digest)) return false
    const work = task()
    const end = work.catch(() => {}).finally(() => this.#removing.delete(digest))
    this.#removing.set(digest, end)
    try {
      const removed = await work
      if (removed) this.#renewals.delete(digest)
      return removed
    } finally {
      await end
    }
  }

  /** `remove` for many digests in one step: `task` gets those that are free, and resolves to those that it removed. */
  async removeAll(
    digests: readonly Digest[],
    task: (free: readonly Digest[], assertHeld: AssertHeld) => Promise<readonly Digest[]>
  ): Promise<readonly Digest[]> {
    const free: Digest[] = []
    const work = Promise.withResolvers<readonly Digest[]>()
    const removals = digests.map(digest =>
      this.remove(digest, async () => {
        free.push(digest)
        return (await work.promise).includes(digest)
      })
    )
    // Holds of all of them wait before the task begins.
    if (free.length === 0) work.resolve([])
    else this.#coordination.announce(free, assertHeld => task(free, assertHeld)).then(work.resolve, work.reject)
    const results = await Promise.allSettled(removals)
    const failed = results.find(each => each.status === 'rejected')
    if (failed) throw failed.reason
    return digests.filter((_, index) => results[index]?.status === 'fulfilled' && results[index].value)
  }
}
