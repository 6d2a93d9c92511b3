import { LRUCache } from 'lru-cache'
import type { Storage } from '../../storage/storage.ts'
import type { Digest } from '../oci/digest.ts'
import * as keys from './keys.ts'
import { type AssertHeld, RemovalLease } from './shared/removal-lease.ts'

// Collections look at the time on disk, in steps of a grace that is much longer than this.
const renewedAgainAfter = 60_000
// Where a new time is a copy of the bytes it has to be worth it: a part of the grace of collections.
const partOfGrace = 4
const usualGrace = 3_600_000
const remembered = 50_000
// A removal that was decided on before has come to its end after it.
const justRenewed = 120_000

// When somebody was last told of bytes, when they were last given a new time, and whether that came of it.
interface Renewed {
  at: number
  touched: number
  done: Promise<boolean>
}

/**
 * The agreement between those who need stored bytes and those who remove them. Bytes are held while they are read, published or linked; a removal does not begin while
 * they are, and whoever comes after it has begun waits for its end. There is no lock on the store: all others go on.
 */
export class Holds {
  readonly #storage: Storage
  readonly #held = new Map<Digest, number>()
  readonly #leaving = new Map<Digest, Promise<unknown>>()
  readonly #watchers = new Set<(digest: Digest) => void>()
  readonly #renewed = new LRUCache<Digest, Renewed>({ max: remembered })
  readonly #now: () => number
  /** Where other processes remove too. */
  readonly lease: RemovalLease
  #again: number

  constructor(storage: Storage, now: () => number = Date.now, turn: RemovalLease = new RemovalLease(storage)) {
    this.#storage = storage
    this.lease = turn
    this.#now = now
    this.#again = renewedAgainAfter
    this.setGrace(usualGrace)
  }

  /** Nobody removes the bytes of `digest` until the function is called that it resolves to. Whether there are any is found out after it. */
  async hold(digest: Digest): Promise<() => void> {
    for (let leaving = this.#leaving.get(digest); leaving; leaving = this.#leaving.get(digest)) await leaving
    this.#held.set(digest, (this.#held.get(digest) ?? 0) + 1)
    for (const seen of this.#watchers) seen(digest)
    let open = true
    return () => {
      if (!open) return
      open = false
      const left = (this.#held.get(digest) ?? 0) - 1
      if (left > 0) this.#held.set(digest, left)
      else this.#held.delete(digest)
    }
  }

  /** `hold` for several; the function lets go of all of them. */
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

  /** Collections leave alone what is younger than this, in ms. */
  setGrace(grace: number): void {
    if (this.#storage.sharing === 'shared') this.#again = grace / partOfGrace
  }

  /**
   * Somebody was told of the bytes and may be about to rely on them: they are as new as if they had just been pushed, or nearly so where other processes share them.
   * `modified` is their time, if it is known. Resolves to whether the medium has taken the new time; the watchers know in any case.
   */
  renew(digest: Digest, modified = 0): Promise<boolean> {
    return this.during(digest, async () => {
      const now = this.#now()
      const known = this.#renewed.get(digest)
      if (known) known.at = now
      if (now - modified < this.#again) return true
      // Whoever comes while it is under way is told no sooner.
      if (known && now - known.touched < this.#again) return known.done
      const renewed: Renewed = { at: now, touched: now, done: this.#touch(digest) }
      this.#renewed.set(digest, renewed)
      const done = await renewed.done
      if (!done) renewed.touched = 0
      return done
    })
  }

  #touch(digest: Digest): Promise<boolean> {
    return this.#storage.touch([keys.blob(digest)]).then(
      () => true,
      () => false
    )
  }

  /** Whether `modified` says that the bytes may be about to be removed, or that somebody has just saved them from it. */
  mayBePending(modified: number): boolean {
    if (this.#storage.sharing === 'alone') return false
    const age = this.#now() - modified
    return age < justRenewed || age >= this.#again
  }

  /** When somebody was last told of `digest`, in ms since the epoch, as far as this process remembers; what is on disk may be a minute older. */
  renewedAt(digest: Digest): number {
    return this.#renewed.peek(digest)?.at ?? 0
  }

  /** Tells `seen` of everything that is held now and from now on, before anything comes of it; ends with the function that it gives. */
  watch(seen: (digest: Digest) => void): () => void {
    for (const digest of this.#held.keys()) seen(digest)
    this.#watchers.add(seen)
    return () => void this.#watchers.delete(seen)
  }

  /**
   * Runs `task`, which may remove the bytes of `digest` and resolves to whether it did; nobody holds them meanwhile. False without running it if they are held, or
   * leave already.
   */
  async remove(digest: Digest, task: () => Promise<boolean>): Promise<boolean> {
    if (this.#held.has(digest) || this.#leaving.has(digest)) return false
    const work = task()
    const end = work.catch(() => {}).finally(() => this.#leaving.delete(digest))
    this.#leaving.set(digest, end)
    try {
      const removed = await work
      if (removed) this.#renewed.delete(digest)
      return removed
    } finally {
      await end
    }
  }

  /** `remove` for many at once, which a medium may do in one step: `task` gets those that nobody holds, and resolves to those that it removed. */
  async removeAll(
    digests: readonly Digest[],
    task: (free: readonly Digest[], stillOurs: AssertHeld) => Promise<readonly Digest[]>
  ): Promise<readonly Digest[]> {
    const free: Digest[] = []
    const work = Promise.withResolvers<readonly Digest[]>()
    const removals = digests.map(digest =>
      this.remove(digest, async () => {
        free.push(digest)
        return (await work.promise).includes(digest)
      })
    )
    // All of them leave before the task begins.
    if (free.length === 0) work.resolve([])
    else this.lease.announce(free, stillOurs => task(free, stillOurs)).then(work.resolve, work.reject)
    const results = await Promise.allSettled(removals)
    const failed = results.find(each => each.status === 'rejected')
    if (failed) throw failed.reason
    return digests.filter((_, index) => results[index]?.status === 'fulfilled' && results[index].value)
  }
}
