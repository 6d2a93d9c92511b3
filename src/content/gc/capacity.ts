import { type Clock, systemClock } from '../../../storage/clock.ts'
import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Storage } from '../../../storage/storage.ts'
import type { Content } from '../content.ts'
import * as keys from '../keys.ts'
import { LeaseHeldError } from '../shared/removal-lease.ts'
import { type EvictPolicy, evict } from './evict.ts'
import type { Removal } from './run.ts'
import type { Yield } from './yield.ts'

/** How full the storage is. */
export interface FreeSpace {
  /** How many bytes have to be removed for `bytes` more to fit; 0 or less if they do. */
  missingBytes(bytes: number): number | Promise<number>
  /** How much is removed beyond that, so that the next blob need not wait. */
  readonly marginBytes: number
}

// Part of the budget that is freed beyond what is missing, so that not every fill has to wait.
const margin = 0.05
const maxMarginBytes = 1024 ** 3
// The bytes that one missing inode counts for.
const bytesPerInode = 4096

/** How full the storage is, for making capacity. */
export async function freeSpaceOf(storage: Storage): Promise<FreeSpace> {
  const { budget, total } = await storage.usage()
  return {
    marginBytes: Math.min(maxMarginBytes, (budget ?? total ?? Number.POSITIVE_INFINITY) * margin),
    missingBytes: async bytes => {
      const shortage = await storage.shortage(bytes)
      if (!shortage) return 0
      return shortage.unit === 'inodes' ? shortage.excess * bytesPerInode : shortage.excess
    }
  }
}

/** What making capacity needs. */
export interface CapacityDeps {
  storage: Storage
  content: Content
  space: FreeSpace
  policy(): Promise<Pick<EvictPolicy, 'pinned' | 'grace'>>
  yielder: Yield
  onRemove(removal: Removal): void
  clock?: Pick<Clock, 'now'>
}

// After a run that could not make enough capacity, none is tried for so long.
const backoffMs = 10_000

/** Makes capacity for what is to be cached, by evicting in the order of last access. Concurrent callers share a run. */
export class Capacity {
  readonly #deps: CapacityDeps
  readonly #clock: Pick<Clock, 'now'>
  readonly #mutex = createMutex()
  #retryAt = 0

  constructor(deps: CapacityDeps) {
    this.#deps = deps
    this.#clock = deps.clock ?? systemClock
  }

  /** Resolves to whether `bytes` fit; rejects on an I/O error. */
  ensureCapacity(bytes: number): Promise<boolean> {
    return this.#mutex(() => this.#ensure(bytes))
  }

  async #ensure(bytes: number): Promise<boolean> {
    const { space } = this.#deps
    let missing = await space.missingBytes(bytes)
    if (missing <= 0) return true
    if (this.#clock.now() < this.#retryAt) return false
    // Evicting content that another repository needs too frees nothing, which shows only afterwards. So the target is
    // tried twice, and then doubled.
    for (let attempt = 0; ; attempt++) {
      const factor = 2 ** Math.max(0, attempt - 1)
      const before = await this.#lastAccessFreeing((missing + space.marginBytes) * factor)
      // Another process holds the removal lease, and makes capacity for all.
      if (!(await this.#evict(before))) break
      missing = await space.missingBytes(bytes)
      if (missing <= 0) return true
      if (before === Number.POSITIVE_INFINITY) break
    }
    this.#retryAt = this.#clock.now() + backoffMs
    return false
  }

  async #evict(before: number): Promise<boolean> {
    const { storage, content, yielder, onRemove } = this.#deps
    const policy: EvictPolicy = { ...(await this.#deps.policy()), reason: 'room', before: () => before }
    try {
      for await (const removal of evict(storage, content, policy, { yielder, now: () => this.#clock.now() })) onRemove(removal)
      return true
    } catch (error) {
      if (error instanceof LeaseHeldError) return false
      throw error
    }
  }

  // The time before which the last access of `bytes` lies.
  async #lastAccessFreeing(bytes: number): Promise<number> {
    const { storage, content, yielder } = this.#deps
    const found: { last: number; size: number }[] = []
    for await (const name of content.provenance.names()) {
      for await (const digest of content.provenance.list(name)) {
        const [last, stat] = await Promise.all([content.lastAccess.of(name, digest), storage.stat(keys.blob(digest))])
        if (last !== undefined && stat) found.push({ last, size: stat.size })
        await yielder.step()
      }
    }
    found.sort((a, b) => a.last - b.last)
    let sum = 0
    for (const { last, size } of found) {
      sum += size
      // With all others of the same time.
      if (sum >= bytes) return last + 1
    }
    return Number.POSITIVE_INFINITY
  }
}
