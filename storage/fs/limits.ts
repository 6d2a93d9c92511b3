import type { Shortage, VolumeSpace } from '../storage.ts'
import type { UsageAmount, UsageCounter } from './usage-counter.ts'

/** A number of bytes or inodes, or a part of what the filesystem has. */
export type LimitValue = number | { readonly percent: number }

/** What a store may take. Absent: no limit. */
export interface Limits {
  /** Of the store itself. */
  readonly budget?: LimitValue | undefined
  readonly inodeBudget?: LimitValue | undefined
  /** What stays free on the filesystem, whoever fills it. */
  readonly reserve?: LimitValue | undefined
  readonly inodeReserve?: LimitValue | undefined
}

/** The limits as numbers. */
export interface EffectiveLimits {
  budget?: number
  inodeBudget?: number
  reserve: number
  inodeReserve: number
}

// The links and marks that come with an object, which are written beyond the limits.
const company = 4096
// In ms. What this process writes meanwhile is known; what others do is seen a little later.
const fresh = 1_000

/** A limit of the store is reached; `code` is that of a quota, which it is. */
export class LimitExceededError extends Error {
  readonly code = 'EDQUOT'
  readonly shortage: Shortage

  constructor(shortage: Shortage) {
    super(shortage.reason)
    this.shortage = shortage
  }
}

/** How much fits: what the store has used, what the filesystem has left, and what was allowed. */
export class VolumeLimits {
  readonly #account: UsageCounter
  readonly #statfs: () => Promise<VolumeSpace>
  readonly #now: () => number
  #limits: Limits
  #medium: VolumeSpace
  #seen: { at: number; added: UsageAmount; removals: number }
  #looking: Promise<void> | undefined

  /** `medium` is how the filesystem was a moment ago; `statfs` looks again. */
  constructor(
    account: UsageCounter,
    limits: Limits,
    volume: VolumeSpace,
    statfs: () => Promise<VolumeSpace>,
    now: () => number = () => performance.now()
  ) {
    this.#account = account
    this.#limits = limits
    this.#medium = volume
    this.#statfs = statfs
    this.#now = now
    this.#seen = { at: now(), ...seen(account) }
    this.#tellAccount()
  }

  set limits(limits: Limits) {
    this.#limits = limits
    this.#tellAccount()
  }

  #tellAccount(): void {
    const { budget = Number.POSITIVE_INFINITY, inodeBudget = Number.POSITIVE_INFINITY } = this.effective
    this.#account.capCeiling({ bytes: budget, inodes: inodeBudget })
  }

  /** The limits on this filesystem. */
  get effective(): EffectiveLimits {
    const { budget, inodeBudget, reserve = 0, inodeReserve = 0 } = this.#limits
    const { total, inodesTotal } = this.#medium
    return {
      ...(budget === undefined ? {} : { budget: partOf(budget, total) }),
      ...(inodeBudget === undefined ? {} : { inodeBudget: partOf(inodeBudget, inodesTotal) }),
      reserve: partOf(reserve, total),
      inodeReserve: partOf(inodeReserve, inodesTotal)
    }
  }

  /** The filesystem as it was when it was last looked at, less what was written since. */
  get medium(): VolumeSpace {
    const { added } = this.#account
    const { free, total, inodesFree, inodesTotal } = this.#medium
    return {
      free: Math.max(0, free - (added.bytes - this.#seen.added.bytes)),
      total,
      inodesFree: Math.max(0, inodesFree - (added.inodes - this.#seen.added.inodes)),
      inodesTotal
    }
  }

  /** Looks at the filesystem unless that was done a moment ago and nothing was removed since; undefined if nobody has to wait for it. */
  refreshIfStale(): Promise<void> | undefined {
    if (this.#now() - this.#seen.at < fresh && this.#account.removals === this.#seen.removals) return undefined
    return this.refresh()
  }

  /** Looks at the filesystem, however short a time ago that was done. */
  refresh(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #look(): Promise<void> {
    // What is added while the call runs may not be in its answer.
    const before = seen(this.#account)
    this.#medium = await this.#statfs()
    this.#seen = { at: this.#now(), ...before }
    this.#tellAccount()
  }

  /** What is in the way of so many bytes more, in an object of its own. */
  shortage(bytes: number): Shortage | undefined {
    const { free } = this.medium
    const over = this.#overLimit(bytes + company, 1)
    if (over || bytes <= free) return over
    return { limit: 'disk', needed: bytes, excess: bytes - free, reason: "no space is left on the registry's disk" }
  }

  /** Throws a NoRoomError if so many bytes more are beyond a limit. Whether the disk itself takes them is its own affair. */
  assertFits(bytes: number): void {
    const over = this.#overLimit(bytes, 0)
    if (over) throw new LimitExceededError(over)
  }

  #overLimit(bytes: number, inodes: number): Shortage | undefined {
    const { used } = this.#account
    const { budget, inodeBudget, reserve, inodeReserve } = this.effective
    const { free, inodesFree, inodesTotal } = this.medium
    if (budget !== undefined && used.bytes + bytes > budget)
      return short('storage.budget', bytes, used.bytes + bytes - budget, `allows ${budget} bytes, ${used.bytes} are used`)
    if (reserve > 0 && free - bytes < reserve)
      return short('storage.reserve', bytes, reserve - (free - bytes), `keeps ${reserve} bytes of the disk free, ${free} are`)
    if (inodeBudget !== undefined && used.inodes + inodes > inodeBudget)
      return short(
        'storage.inodeBudget',
        inodes,
        used.inodes + inodes - inodeBudget,
        `allows ${inodeBudget} inodes, ${used.inodes} are used`
      )
    // Some filesystems count no inodes.
    if (inodeReserve > 0 && inodesTotal > 0 && inodesFree - inodes < inodeReserve)
      return short(
        'storage.inodeReserve',
        inodes,
        inodeReserve - (inodesFree - inodes),
        `keeps ${inodeReserve} inodes of the disk free, ${inodesFree} are`
      )
    return undefined
  }
}

function seen({ added, removals }: UsageCounter): { added: UsageAmount; removals: number } {
  return { added: { ...added }, removals }
}

function short(limit: Shortage['limit'], needed: number, excess: number, state: string): Shortage {
  return { limit, needed, excess, reason: `${limit} ${state}, and ${needed} more are needed: ${excess} too many` }
}

function partOf(share: LimitValue, total: number): number {
  return typeof share === 'number' ? share : Math.floor((total / 100) * share.percent)
}
