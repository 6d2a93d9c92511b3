import type { EntryKey } from './entry.ts'

/** Keys that wait for work, each once, taken by turns from both ends: what came last does not wait for a backlog. */
export class WaitingKeys {
  readonly #keys = new Set<EntryKey>()
  /** In the order in which they came, with some that are gone. */
  #recent: EntryKey[] = []
  #taken = 0

  get size(): number {
    return this.#keys.size
  }

  has(key: EntryKey): boolean {
    return this.#keys.has(key)
  }

  /** The key is now what came last. */
  add(key: EntryKey): void {
    this.#keys.delete(key)
    this.#keys.add(key)
    this.#recent.push(key)
    if (this.#recent.length > 2 * this.#keys.size + 64) this.#recent = [...this.#keys]
  }

  take(): EntryKey | undefined {
    const key = this.#taken++ % 2 === 0 ? this.#last() : this.#keys.values().next().value
    if (key !== undefined) this.#keys.delete(key)
    return key
  }

  #last(): EntryKey | undefined {
    for (let key = this.#recent.pop(); key !== undefined; key = this.#recent.pop()) if (this.#keys.has(key)) return key
    return undefined
  }
}
