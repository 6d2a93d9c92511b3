/** Bytes of files, and files and directories. */
export interface UsageAmount {
  bytes: number
  inodes: number
}

/** What is known of a tree when it is opened; without `used` nothing is. */
export interface CountedUsage {
  used: UsageAmount
  exact: boolean
}

// How far the count on disk is ahead of the true one: so much is too much after a crash, and so rarely it has to be written.
const step: UsageAmount = { bytes: 256 * 1024 * 1024, inodes: 10_000 }
const none: UsageAmount = { bytes: 0, inodes: 0 }
const everything: UsageAmount = { bytes: Number.POSITIVE_INFINITY, inodes: Number.POSITIVE_INFINITY }

/**
 * What the files of a store take, counted as it changes. What is on disk is a ceiling that is raised, durably, before more is used: after a crash the count is too high
 * and never too low, until a recount has put it right.
 */
export class UsageCounter {
  readonly #save: (known: CountedUsage) => Promise<void>
  readonly #used: UsageAmount
  /** What the disk knows. */
  #ceiling: UsageAmount
  #exact: boolean
  #saving: Promise<void> | undefined
  /** The ceiling goes beyond these only where what is used does. */
  #most = everything
  /** Changes that are being made, and how much they may add. */
  readonly #underway: UsageAmount & { changes: number } = { ...none, changes: 0 }
  readonly #ever: UsageAmount = { ...none }
  #removals = 0
  #recount: (UsageAmount & { changes: number }) | undefined

  /** `save` makes a count durable. The first change is saved before it is made. */
  constructor({ used, exact }: CountedUsage, save: (known: CountedUsage) => Promise<void>) {
    this.#used = { ...used }
    this.#ceiling = { bytes: -1, inodes: -1 }
    this.#exact = exact
    this.#save = save
  }

  /** What is used, and what is about to be. */
  get used(): Readonly<UsageAmount> {
    return this.#used
  }

  /** Whether that is the truth, and not a bound above it. */
  get exact(): boolean {
    return this.#exact
  }

  /** All that was ever added; what was removed does not count. */
  get added(): Readonly<UsageAmount> {
    return this.#ever
  }

  /** How often bytes were removed. */
  get removals(): number {
    return this.#removals
  }

  // Whether the ceiling on disk is known to cover what is used.
  get #covered(): boolean {
    return this.#used.bytes <= this.#ceiling.bytes && this.#used.inodes <= this.#ceiling.inodes
  }

  /** There is a limit: a crash must not make a store look fuller than that. */
  capCeiling(most: UsageAmount): void {
    this.#most = most
  }

  /** Runs `task`, which adds at most `amount`; counted before it begins, and given back if it fails. `moves` is what it puts under another name. */
  async reserve<T>(amount: UsageAmount, task: () => Promise<T>, moves = none): Promise<T> {
    const most = { bytes: amount.bytes + moves.bytes, inodes: amount.inodes + moves.inodes }
    this.#change(amount)
    add(this.#ever, amount)
    if (this.#recount) add(this.#recount, most)
    add(this.#underway, most)
    this.#underway.changes++
    try {
      if (!this.#covered) await this.#raise()
      return await task()
    } catch (error) {
      // A call that hangs may still take effect.
      if ((error as NodeJS.ErrnoException).code === 'ESTALLED') this.#exact = false
      else this.removed(amount)
      throw error
    } finally {
      add(this.#underway, negative(most))
      this.#underway.changes--
    }
  }

  /** So much is gone. */
  removed(amount: UsageAmount): void {
    if (amount.bytes > 0) this.#removals++
    this.#change(negative(amount))
  }

  #change(amount: UsageAmount): void {
    if (amount.bytes === 0 && amount.inodes === 0) return
    add(this.#used, amount)
    if (this.#recount) this.#recount.changes++
  }

  async #raise(): Promise<void> {
    while (!this.#covered) {
      this.#saving ??= this.#saveCeiling().finally(() => {
        this.#saving = undefined
      })
      await this.#saving
    }
  }

  async #saveCeiling(): Promise<void> {
    const used = {
      bytes: ahead(this.#used.bytes, step.bytes, this.#most.bytes),
      inodes: ahead(this.#used.inodes, step.inodes, this.#most.inodes)
    }
    await this.#save({ used, exact: false })
    this.#ceiling = used
  }

  /** From here on every change is below what the disk knows. */
  open(): Promise<void> {
    return this.#raise()
  }

  /** The last count, when nothing changes any more. */
  async close(): Promise<void> {
    await this.#saving?.catch(() => {})
    await this.#save({ used: this.#used, exact: this.#exact && this.#underway.changes === 0 })
  }

  /**
   * Counts anew: `count` looks at everything that is there. What is added or moved meanwhile may be missed by it and is counted in addition, so that the result is never
   * below the truth, and exact if nothing changed.
   */
  async recount(count: () => Promise<UsageAmount>): Promise<void> {
    const meanwhile = { ...this.#underway }
    this.#recount = meanwhile
    try {
      const found = await count()
      this.#used.bytes = found.bytes + meanwhile.bytes
      this.#used.inodes = found.inodes + meanwhile.inodes
      this.#exact = meanwhile.changes === 0
    } finally {
      this.#recount = undefined
    }
    await this.#raise()
  }
}

// Close to a limit in smaller steps, since a crash makes used what is only reserved here.
function ahead(used: number, by: number, most: number): number {
  return Math.max(Math.min(used + by, most), used + Math.ceil(by / 64))
}

function add(to: UsageAmount, amount: UsageAmount): void {
  to.bytes += amount.bytes
  to.inodes += amount.inodes
}

function negative({ bytes, inodes }: UsageAmount): UsageAmount {
  return { bytes: -bytes, inodes: -inodes }
}
