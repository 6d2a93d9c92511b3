import { type Clock, systemClock } from '../clock.ts'
import type { Shortage, VolumeSpace } from '../storage.ts'
import type { UsageAmount, UsageCounter } from './usage-counter.ts'

/** A number of bytes or inodes, or a percentage of what the filesystem has. */
export type LimitValue = number | { readonly percent: number }

/** What the storage may use. Absent: no limit. */
export interface Limits {
  /** The most that the objects may use. */
  readonly budget?: LimitValue | undefined
  readonly inodeBudget?: LimitValue | undefined
  /** What stays free on the filesystem, whatever else fills it. */
  readonly reserve?: LimitValue | undefined
  readonly inodeReserve?: LimitValue | undefined
}

/** Limits in bytes and inodes. */
export interface EffectiveLimits {
  budget?: number
  inodeBudget?: number
  reserve: number
  inodeReserve: number
}

// The links and provenance records that come with an object and are written beyond the limits.
const linkBytes = 4096
// How long an answer of statfs counts. Writes of this process are added to it; those of others are seen this much
// later.
const volumeTtlMs = 1_000

/** A limit of the storage is exceeded; the `code` is that of a quota. */
export class LimitExceededError extends Error {
  readonly code = 'EDQUOT'
  readonly shortage: Shortage

  constructor(shortage: Shortage) {
    super(shortage.reason)
    this.shortage = shortage
  }
}

/** Whether more bytes fit: what the objects use and the filesystem has left, held against the limits. */
export class VolumeLimits {
  readonly #counter: UsageCounter
  readonly #statfs: () => Promise<VolumeSpace>
  readonly #clock: Pick<Clock, 'monotonic'>
  #limits: Limits
  #volume: VolumeSpace
  /** The state of the counter when `#volume` was read. */
  #read: { at: number; added: UsageAmount; removals: number }
  #refreshing: Promise<void> | undefined

  /** `volume` is the current answer of `statfs`. */
  constructor(
    counter: UsageCounter,
    limits: Limits,
    volume: VolumeSpace,
    statfs: () => Promise<VolumeSpace>,
    clock: Pick<Clock, 'monotonic'> = systemClock
  ) {
    this.#counter = counter
    this.#limits = limits
    this.#volume = volume
    this.#statfs = statfs
    this.#clock = clock
    this.#read = { at: clock.monotonic(), ...stateOf(counter) }
    this.#capCeiling()
  }

  set limits(limits: Limits) {
    this.#limits = limits
    this.#capCeiling()
  }

  #capCeiling(): void {
    const { budget = Number.POSITIVE_INFINITY, inodeBudget = Number.POSITIVE_INFINITY } = this.effective
    this.#counter.capCeiling({ bytes: budget, inodes: inodeBudget })
  }

  /** The limits on this filesystem. */
  get effective(): EffectiveLimits {
    const { budget, inodeBudget, reserve = 0, inodeReserve = 0 } = this.#limits
    const { total, inodesTotal } = this.#volume
    return {
      ...(budget === undefined ? {} : { budget: absolute(budget, total) }),
      ...(inodeBudget === undefined ? {} : { inodeBudget: absolute(inodeBudget, inodesTotal) }),
      reserve: absolute(reserve, total),
      inodeReserve: absolute(inodeReserve, inodesTotal)
    }
  }

  /** Space of the filesystem when it was last read, less what was written since. */
  get volume(): VolumeSpace {
    const { added } = this.#counter
    const { free, total, inodesFree, inodesTotal } = this.#volume
    return {
      free: Math.max(0, free - (added.bytes - this.#read.added.bytes)),
      total,
      inodesFree: Math.max(0, inodesFree - (added.inodes - this.#read.added.inodes)),
      inodesTotal
    }
  }

  /** Reads the filesystem's space again; undefined if the last answer is fresh and nothing was removed since. */
  refreshIfStale(): Promise<void> | undefined {
    const fresh = this.#clock.monotonic() - this.#read.at < volumeTtlMs
    return fresh && this.#counter.removals === this.#read.removals ? undefined : this.refresh()
  }

  /** Reads the filesystem's space again. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async #refresh(): Promise<void> {
    // What is added while the call runs may not be in its answer.
    const state = stateOf(this.#counter)
    this.#volume = await this.#statfs()
    this.#read = { at: this.#clock.monotonic(), ...state }
    this.#capCeiling()
  }

  /** The limit that a new object of so many bytes would exceed. */
  shortage(bytes: number): Shortage | undefined {
    const { free } = this.volume
    const exceeded = this.#exceeded(bytes + linkBytes, 1)
    if (exceeded || bytes <= free) return exceeded
    return { limit: 'disk', unit: 'bytes', needed: bytes, excess: bytes - free, reason: "no space is left on the registry's disk" }
  }

  /** Throws a LimitExceededError if so many bytes more exceed a limit. A full disk is left to report itself. */
  assertFits(bytes: number): void {
    const exceeded = this.#exceeded(bytes, 0)
    if (exceeded) throw new LimitExceededError(exceeded)
  }

  #exceeded(bytes: number, inodes: number): Shortage | undefined {
    const { used } = this.#counter
    const { budget, inodeBudget, reserve, inodeReserve } = this.effective
    const { free, inodesFree, inodesTotal } = this.volume
    if (budget !== undefined && used.bytes + bytes > budget) {
      const state = `allows ${budget} bytes, ${used.bytes} are used`
      return shortageOf('storage.budget', 'bytes', bytes, used.bytes + bytes - budget, state)
    }
    if (reserve > 0 && free - bytes < reserve) {
      const state = `keeps ${reserve} bytes of the disk free, ${free} are`
      return shortageOf('storage.reserve', 'bytes', bytes, reserve - (free - bytes), state)
    }
    if (inodeBudget !== undefined && used.inodes + inodes > inodeBudget) {
      const state = `allows ${inodeBudget} inodes, ${used.inodes} are used`
      return shortageOf('storage.inodeBudget', 'inodes', inodes, used.inodes + inodes - inodeBudget, state)
    }
    // Some filesystems count no inodes.
    if (inodeReserve > 0 && inodesTotal > 0 && inodesFree - inodes < inodeReserve) {
      const state = `keeps ${inodeReserve} inodes of the disk free, ${inodesFree} are`
      return shortageOf('storage.inodeReserve', 'inodes', inodes, inodeReserve - (inodesFree - inodes), state)
    }
    return undefined
  }
}

function stateOf({ added, removals }: UsageCounter): { added: UsageAmount; removals: number } {
  return { added: { ...added }, removals }
}

function shortageOf(limit: Shortage['limit'], unit: Shortage['unit'], needed: number, excess: number, state: string): Shortage {
  return { limit, unit, needed, excess, reason: `${limit} ${state}, and ${needed} more are needed: ${excess} too many` }
}

function absolute(value: LimitValue, total: number): number {
  return typeof value === 'number' ? value : Math.floor((total / 100) * value.percent)
}
