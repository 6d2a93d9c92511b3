import type { EntryKey } from '../entry.ts'

/** A change of a key, numbered from 1. */
export interface JournalItem {
  seq: number
  key: EntryKey
}

/**
 * The order in which the rows of a table changed, for the feed. A key counts at its last change only, so that it is as
 * long as the table and no history.
 */
export class TableJournal {
  #items: JournalItem[] = []
  readonly #latest = new Map<EntryKey, number>()
  readonly #waiting = new Set<() => void>()
  #last = 0
  #head = 0

  /** The number of the last change that is durable: what peers may be told. */
  get head(): number {
    return this.#head
  }

  /** The number of the last change. */
  get last(): number {
    return this.#last
  }

  append(key: EntryKey): number {
    const seq = ++this.#last
    this.#items.push({ seq, key })
    this.#latest.set(key, seq)
    if (this.#items.length > 2 * this.#latest.size + 1_024)
      this.#items = this.#items.filter(each => this.#latest.get(each.key) === each.seq)
    return seq
  }

  /** All changes up to `seq` are durable. */
  publish(seq: number): void {
    if (seq <= this.#head) return
    this.#head = seq
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  /** The key has no row any more. */
  forget(key: EntryKey): void {
    this.#latest.delete(key)
  }

  /** The durable changes after `seq`, in order. */
  *after(seq: number): IterableIterator<JournalItem> {
    let low = 0
    for (let high = this.#items.length; low < high; ) {
      const middle = (low + high) >> 1
      if ((this.#items[middle]?.seq ?? 0) <= seq) low = middle + 1
      else high = middle
    }
    for (; low < this.#items.length && (this.#items[low]?.seq ?? 0) <= this.#head; low++) yield this.#items[low] as JournalItem
  }

  /** Calls `wake` when the next change is durable, unless the returned function is called before. */
  onNext(wake: () => void): () => void {
    this.#waiting.add(wake)
    return () => void this.#waiting.delete(wake)
  }
}
