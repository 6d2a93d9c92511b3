/** Bytes of files, and a number of files and directories. */
export interface UsageAmount {
  bytes: number
  inodes: number
}

/** A stored count. Unless it is exact, it is too high. */
export interface CountedUsage {
  used: UsageAmount
  exact: boolean
}

// How far the stored count runs ahead of the true one: this much is too much after a crash, and a larger step needs
// fewer writes.
const step: UsageAmount = { bytes: 256 * 1024 * 1024, inodes: 10_000 }
const none: UsageAmount = { bytes: 0, inodes: 0 }
const unlimited: UsageAmount = { bytes: Number.POSITIVE_INFINITY, inodes: Number.POSITIVE_INFINITY }

/**
 * What the files of the storage use, counted as it changes. The stored count is a ceiling that is durably raised before
 * more is used. So after a crash the count is too high and never too low, until a recount corrects it.
 */
export class UsageCounter {
  readonly #save: (usage: CountedUsage) => Promise<void>
  readonly #used: UsageAmount
  /** The stored count. */
  #ceiling: UsageAmount
  #exact: boolean
  #saving: Promise<void> | undefined
  /** The ceiling passes this only where the use does. */
  #ceilingCap = unlimited
  /** Running changes, and the most that they may add. */
  readonly #underway: UsageAmount & { changes: number } = { ...none, changes: 0 }
  readonly #added: UsageAmount = { ...none }
  #removals = 0
  /** What was added since the running recount began. */
  #recount: (UsageAmount & { changes: number }) | undefined

  /** `save` makes a count durable. The first change is saved before it is made. */
  constructor({ used, exact }: CountedUsage, save: (usage: CountedUsage) => Promise<void>) {
    this.#used = { ...used }
    this.#ceiling = { bytes: -1, inodes: -1 }
    this.#exact = exact
    this.#save = save
  }

  /** What is used, running changes included. */
  get used(): Readonly<UsageAmount> {
    return this.#used
  }

  /** Whether `used` is exact and not an upper bound. */
  get exact(): boolean {
    return this.#exact
  }

  /** The sum of all additions; removals do not lower it. */
  get added(): Readonly<UsageAmount> {
    return this.#added
  }

  /** How often bytes were removed. */
  get removals(): number {
    return this.#removals
  }

  // Whether the stored ceiling covers what is used.
  get #covered(): boolean {
    return this.#used.bytes <= this.#ceiling.bytes && this.#used.inodes <= this.#ceiling.inodes
  }

  /** Keeps the ceiling below a limit: a crash must not make the storage look fuller than that. */
  capCeiling(cap: UsageAmount): void {
    this.#ceilingCap = cap
  }

  /**
   * Runs `task`, which adds at most `amount`: counted before it begins, and given back if it fails. `moves` is what it
   * renames, which a running recount may miss.
   */
  async reserve<T>(amount: UsageAmount, task: () => Promise<T>, moves = none): Promise<T> {
    const affected = { bytes: amount.bytes + moves.bytes, inodes: amount.inodes + moves.inodes }
    this.#change(amount)
    add(this.#added, amount)
    if (this.#recount) add(this.#recount, affected)
    add(this.#underway, affected)
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
      add(this.#underway, negative(affected))
      this.#underway.changes--
    }
  }

  /** Subtracts what was removed. */
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
      bytes: raisedCeiling(this.#used.bytes, step.bytes, this.#ceilingCap.bytes),
      inodes: raisedCeiling(this.#used.inodes, step.inodes, this.#ceilingCap.inodes)
    }
    await this.#save({ used, exact: false })
    this.#ceiling = used
  }

  /** Stores a first ceiling. */
  open(): Promise<void> {
    return this.#raise()
  }

  /** Stores the count itself. Nothing may change any more. */
  async close(): Promise<void> {
    await this.#saving?.catch(() => {})
    await this.#save({ used: this.#used, exact: this.#exact && this.#underway.changes === 0 })
  }

  /**
   * Takes the result of `count`, which reads all that is there. What is added or renamed meanwhile may escape it and is
   * counted in addition: the result is never below the truth, and exact if nothing changed.
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

// Close to the cap in smaller steps, since a crash turns the ceiling into use.
function raisedCeiling(used: number, step: number, cap: number): number {
  return Math.max(Math.min(used + step, cap), used + Math.ceil(step / 64))
}

function add(to: UsageAmount, amount: UsageAmount): void {
  to.bytes += amount.bytes
  to.inodes += amount.inodes
}

function negative({ bytes, inodes }: UsageAmount): UsageAmount {
  return { bytes: -bytes, inodes: -inodes }
}
