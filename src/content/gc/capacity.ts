import { createMutex } from '../../../storage/keyed-mutex.ts'
import type { Storage } from '../../../storage/storage.ts'
import type { Content } from '../content.ts'
import * as keys from '../keys.ts'
import { LeaseHeldError } from '../shared/removal-lease.ts'
import { type EvictPolicy, evict } from './evict.ts'
import type { Removal } from './run.ts'
import type { Yield } from './yield.ts'

/** How full the store is. */
export interface FreeSpace {
  /** How many bytes have to go for `bytes` more to fit; 0 or less if they do. */
  missingBytes(bytes: number): number | Promise<number>
  /** What is freed beyond that, so that the next one who comes need not wait again. */
  readonly marginBytes: number
}

/** What making room goes by. */
export interface CapacityDeps {
  storage: Storage
  content: Content
  space: FreeSpace
  policy(): Promise<Pick<EvictPolicy, 'pinned' | 'grace'>>
  yielder: Yield
  onRemove(removal: Removal): void
  now?: () => number
}

// After a run that found too little, how long nothing is looked through again.
const pause = 10_000

/** Makes room for what is to be cached, by what was not asked for the longest. One run at a time serves all who wait. */
export class Capacity {
  readonly #parts: CapacityDeps
  readonly #now: () => number
  readonly #mutex = createMutex()
  #hopelessUntil = 0

  constructor(parts: CapacityDeps) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
  }

  /** Resolves to whether `bytes` fit; rejects on an error of the medium. */
  ensureCapacity(bytes: number): Promise<boolean> {
    return this.#mutex(() => this.#make(bytes))
  }

  async #make(bytes: number): Promise<boolean> {
    const { space } = this.#parts
    let goal = await space.missingBytes(bytes)
    if (goal <= 0) return true
    if (this.#now() < this.#hopelessUntil) return false
    // Content that others need too frees nothing, which is seen only afterwards: a second look first, then further and further.
    for (let look = 0; ; look++) {
      const reach = 2 ** Math.max(0, look - 1)
      const before = await this.#before((goal + space.marginBytes) * reach)
      // Another process makes room already, for all.
      if (!(await this.#evict(before))) break
      goal = await space.missingBytes(bytes)
      if (goal <= 0) return true
      if (before === Number.POSITIVE_INFINITY) break
    }
    this.#hopelessUntil = this.#now() + pause
    return false
  }

  async #evict(before: number): Promise<boolean> {
    const { storage, content, yielder: pace, onRemove } = this.#parts
    const policy: EvictPolicy = { ...(await this.#parts.policy()), reason: 'room', before: () => before }
    try {
      for await (const removal of evict(storage, content, policy, { pace, now: this.#now })) onRemove(removal)
      return true
    } catch (error) {
      if (error instanceof LeaseHeldError) return false
      throw error
    }
  }

  // The time before which `bytes` were last asked for.
  async #before(bytes: number): Promise<number> {
    const { storage, content, yielder: pace } = this.#parts
    const found: { last: number; size: number }[] = []
    for await (const name of content.provenance.names()) {
      for await (const digest of content.provenance.list(name)) {
        const [last, stat] = await Promise.all([content.lastAccess.of(name, digest), storage.stat(keys.blob(digest))])
        if (last !== undefined && stat) found.push({ last, size: stat.size })
        await pace.step()
      }
    }
    found.sort((a, b) => a.last - b.last)
    let sum = 0
    for (const { last, size } of found) {
      sum += size
      // Also those of the same moment.
      if (sum >= bytes) return last + 1
    }
    return Number.POSITIVE_INFINITY
  }
}
