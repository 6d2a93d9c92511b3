/** What several events have in common, for a line that stands for all of them. */
export interface Recurrence<Fields> {
  /** Those of the last one that told them. */
  readonly fields: Fields
  /** How many there were after the first. */
  readonly repeated: number
  /** When the interval began, in ms since the epoch. */
  readonly sinceMs: number
}

/** Bounds on the lines that events cause. */
export interface RecurrenceLimits {
  readonly intervalMs: number
  /** Kinds of events in an interval that are told apart; the others are only counted. */
  readonly maxKinds: number
  /** Those of one origin, so that none uses up the kinds of the others. Its further events are one kind together. */
  readonly maxKindsOfOrigin: number
}

/**
 * Events that clients can cause at any rate, as a bounded number of lines: the first of each kind at once, the others
 * as a count at the end of the interval. None is left out of the counts.
 */
export class Recurrences<Fields> {
  readonly #limits: RecurrenceLimits
  readonly #report: (recurrence: Recurrence<Fields>) => void
  readonly #reportOthers: (count: number, sinceMs: number) => void
  readonly #kinds = new Map<string, { fields: Fields; repeated: number }>()
  readonly #kindsOf = new Map<string, number>()
  #others = 0
  #sinceMs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(
    limits: RecurrenceLimits,
    report: (recurrence: Recurrence<Fields>) => void,
    reportOthers: (count: number, sinceMs: number) => void
  ) {
    this.#limits = limits
    this.#report = report
    this.#reportOthers = reportOthers
  }

  /** Counts an event like those before it, whose fields stay; false if there was none of its kind in this interval. */
  repeat(kind: string): boolean {
    const known = this.#kinds.get(kind)
    if (known) known.repeated++
    return known !== undefined
  }

  /** Counts an event; whether it is the first of its kind in this interval, for a line of its own. */
  count(kind: string, fields: Fields, origin: string): boolean {
    const known = this.#kinds.get(kind)
    if (known) {
      known.repeated++
      known.fields = fields
      return false
    }
    const kindsOfOrigin = this.#kindsOf.get(origin) ?? 0
    const together = `others ${origin}`
    if (kindsOfOrigin >= this.#limits.maxKindsOfOrigin && kind !== together) return this.count(together, fields, origin)
    if (this.#timer === undefined) {
      this.#sinceMs = Date.now()
      this.#timer = setTimeout(() => this.flush(), this.#limits.intervalMs).unref()
    }
    if (this.#kinds.size >= this.#limits.maxKinds) {
      this.#others++
      return false
    }
    this.#kinds.set(kind, { fields, repeated: 0 })
    this.#kindsOf.set(origin, kindsOfOrigin + 1)
    return true
  }

  /** Ends the interval and reports what was counted in it. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const sinceMs = this.#sinceMs
    for (const each of this.#kinds.values()) if (each.repeated > 0) this.#report({ ...each, sinceMs })
    if (this.#others > 0) this.#reportOthers(this.#others, sinceMs)
    this.#kinds.clear()
    this.#kindsOf.clear()
    this.#others = 0
  }
}
