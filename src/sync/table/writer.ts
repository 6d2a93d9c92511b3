import type { EntryKey } from '../entry.ts'
import type { StoredRow, TableStore } from '../ports.ts'

/** Writes changed rows together: one write at a time, and all that changed meanwhile with the next one. */
export class TableWriter {
  readonly #store: TableStore
  readonly #rowOf: (key: EntryKey) => StoredRow | undefined
  #changed = new Set<EntryKey>()
  #facts = new Map<string, string>()
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(store: TableStore, rowOf: (key: EntryKey) => StoredRow | undefined) {
    this.#store = store
    this.#rowOf = rowOf
  }

  /** The row was set or dropped. */
  changed(key: EntryKey): void {
    this.#changed.add(key)
  }

  note(name: string, value: string): void {
    this.#facts.set(name, value)
  }

  flush(): Promise<void> {
    if (this.#next) return this.#next
    if (this.#changed.size === 0 && this.#facts.size === 0) return this.#running
    const next = this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.#save()
      })
    this.#next = next
    this.#running = next
    return next
  }

  async #save(): Promise<void> {
    const [changed, facts] = [this.#changed, this.#facts]
    this.#changed = new Set()
    this.#facts = new Map()
    const rows: StoredRow[] = []
    const dropped: EntryKey[] = []
    for (const key of changed) {
      const row = this.#rowOf(key)
      if (row) rows.push(row)
      else dropped.push(key)
    }
    try {
      await this.#store.save({ rows, dropped, facts: Object.fromEntries(facts) })
    } catch (error) {
      // What changed meanwhile is newer.
      for (const key of changed) this.#changed.add(key)
      for (const [name, value] of facts) if (!this.#facts.has(name)) this.#facts.set(name, value)
      throw error
    }
  }
}
