import type { Digest } from '../../oci/digest.ts'
import type { Name } from '../../oci/name.ts'
import { compareStamps, type Entry, type EntryKey, isLater, keyOf, nextStamp, type Stamp, supersedes } from '../entry.ts'
import type { Facts, RowState, StoredRow, TableStore } from '../ports.ts'
import { Buckets } from './buckets.ts'
import { TableJournal } from './journal.ts'
import { TableWriter } from './writer.ts'

/** A row of the table. Its object is replaced with each change. */
export interface Row extends StoredRow {
  /** Its place in the feed of this incarnation. */
  seq: number
  /** The incarnation of the peer that it came from. */
  via?: string
  /** When it came in this run of the process, by the monotonic clock. */
  cameAt: number
}

/** What a table is told. */
export interface TableOptions {
  /** The cluster clock. */
  now: () => number
  /** The monotonic clock. */
  monotonic: () => number
  /** How long tombstones are kept, in ms. */
  keepMs: number
  /** Entries at most. */
  maxRows?: number
  /** The latest stamp that was collected: what is written now is later. */
  horizon: () => Stamp
  /** A row is to be applied or forgotten. */
  onPending: (key: EntryKey) => void
}

/** A key that this replica writes; without `value` it was removed. */
export type LocalWrite = Pick<Entry, 'kind' | 'name' | 'key' | 'value'>

// About 300 bytes each in memory.
const defaultMaxRows = 300_000
const maxOlder = 4

/**
 * The entries of a replica: a map of last-writer-wins registers. Merging is the maximum by `supersedes`. What follows
 * from an entry is written by every replica alike: a removed manifest takes with it the tags that named it and are
 * older.
 */
export class Table {
  readonly journal = new TableJournal()
  readonly #rows = new Map<EntryKey, Row>()
  readonly #buckets = new Buckets()
  /** The tags that name a manifest, by repository and digest. */
  readonly #tagsOf = new Map<string, Set<EntryKey>>()
  readonly #writer: TableWriter
  readonly #options: TableOptions
  readonly #maxRows: number

  constructor(store: TableStore, options: TableOptions) {
    this.#options = options
    this.#maxRows = options.maxRows ?? defaultMaxRows
    this.#writer = new TableWriter(store, key => this.#rows.get(key))
  }

  /** Reads what is stored; resolves to the facts. */
  async load(store: TableStore): Promise<Facts> {
    const { rows, facts } = await store.load()
    for (const row of rows)
      this.#insert(keyOf(row.entry), { ...row, seq: this.journal.append(keyOf(row.entry)), cameAt: this.#options.monotonic() })
    this.journal.publish(this.journal.last)
    return facts
  }

  get size(): number {
    return this.#rows.size
  }

  get(key: EntryKey): Row | undefined {
    return this.#rows.get(key)
  }

  rows(): IterableIterator<[EntryKey, Row]> {
    return this.#rows.entries()
  }

  /** The root of the inventory. */
  root(): string {
    return this.#buckets.root()
  }

  /** The inventory. */
  get buckets(): Pick<Buckets, 'sums' | 'differing' | 'keys'> {
    return this.#buckets
  }

  /** The entries of a bucket in the order of their keys, those after `after` only. */
  bucket(bucket: number, after = '', limit = Number.POSITIVE_INFINITY): Entry[] {
    const keys = [...this.#buckets.keys(bucket)].filter(key => key > after).sort()
    // What is not durable here could be lost here, and not there.
    const durable = keys.filter(key => (this.#rows.get(key)?.seq ?? 0) <= this.journal.head)
    return durable.slice(0, limit).flatMap(key => this.#rows.get(key)?.entry ?? [])
  }

  /**
   * Entries of the feed after `seq`, at most `limit`, without those from the incarnation `reader`; and where it goes
   * on.
   */
  since(seq: number, limit: number, reader: string): { entries: Entry[]; next: number } {
    const entries: Entry[] = []
    let next = this.journal.head
    for (const each of this.journal.after(seq)) {
      const row = this.#rows.get(each.key)
      if (row?.seq !== each.seq || row.via === reader || row.state === 'forgetting') continue
      if (entries.length === limit) return { entries, next }
      entries.push(row.entry)
      next = entries.length === limit ? each.seq : this.journal.head
    }
    return { entries, next }
  }

  /** The latest of two versions stays. Resolves to whether it is the one that came. `via` is the peer's incarnation. */
  merge(entry: Entry, via?: string): boolean {
    const key = keyOf(entry)
    const present = this.#rows.get(key)
    if (present ? !supersedes(entry, present.entry) : this.isCollectable(entry) || this.#rows.size >= this.#maxRows) return false
    const same = present?.entry.value === entry.value && present?.state === 'applied'
    const older = present?.entry.value ? [present.entry.value, ...present.older] : (present?.older ?? [])
    this.#set(key, {
      entry,
      state: same ? 'applied' : 'pending',
      since: this.#options.now(),
      older: same ? [] : older.filter(each => each !== entry.value).slice(0, maxOlder),
      ...(via === undefined ? {} : { via })
    })
    if (!same) this.#options.onPending(key)
    this.#deriveFrom(entry, via)
    return true
  }

  /**
   * Whether an entry says nothing any more by its age: tombstones, and links, of which the tree tells what is there.
   * One that was collected here is not taken again from a peer that still has it.
   */
  isCollectable({ kind, value, stamp }: Entry, now = this.#options.now()): boolean {
    return (value === undefined || kind === 'link') && stamp.time <= now - this.#options.keepMs
  }

  /**
   * Entries of this replica for what its tree shows already, all with one stamp that is later than what they replace.
   * `at` is when it was written, if that was not now.
   */
  write(origin: string, writes: readonly LocalWrite[], at?: number): Entry[] {
    const seen = writes.flatMap(({ kind, name, key, value }) => [
      this.#rows.get(keyOf({ kind, name, key }))?.entry.stamp,
      // A tag asserts its manifest.
      kind === 'tag' && value !== undefined ? this.#rows.get(keyOf({ kind: 'revision', name, key: value }))?.entry.stamp : undefined
    ])
    const stamp = at === undefined ? nextStamp(this.#options.now(), this.#options.horizon(), ...seen) : nextStamp(at, ...seen)
    return writes.map(({ kind, name, key, value }) =>
      this.#put({ kind, name, key, ...(value === undefined ? {} : { value }), stamp, origin })
    )
  }

  /** The next possible entry after one whose content is lost: any later write wins. The tree shows `value`. */
  succeed(origin: string, { kind, name, key, stamp }: Entry, value: Digest | undefined): void {
    this.#put({ kind, name, key, ...(value === undefined ? {} : { value }), stamp: nextStamp(0, stamp), origin })
  }

  #put(entry: Entry): Entry {
    this.#set(keyOf(entry), { entry, state: 'applied', since: this.#options.now(), older: [] })
    this.#deriveFrom(entry, undefined)
    return entry
  }

  // A tag asserts its manifest anew, lest an older removal elsewhere takes both. A removed manifest takes older tags
  // that name it along, also those that its remover had not seen. What is derived is the same everywhere.
  #deriveFrom(entry: Entry, via: string | undefined): void {
    const { kind, name, value } = entry
    if (kind === 'revision' && value === undefined) {
      for (const tag of [...(this.#tagsOf.get(`${name} ${entry.key}`) ?? [])]) this.#removeWith(entry, this.#rows.get(tag)?.entry, via)
    } else if (kind === 'tag' && value !== undefined) {
      this.assert(entry, value, via)
      const revision = this.#rows.get(keyOf({ kind: 'revision', name, key: value }))?.entry
      if (revision && revision.value === undefined) this.#removeWith(revision, entry, via)
    }
  }

  /** An entry needs a manifest: unless it was removed later, it is there. */
  assert({ name, stamp, origin }: Entry, manifest: Digest, via?: string): void {
    this.merge({ kind: 'revision', name, key: manifest, value: manifest, stamp, origin }, via)
  }

  // Its tombstone stands where the tag stands in the order: what superseded the tag elsewhere supersedes it too.
  #removeWith(revision: Entry, tag: Entry | undefined, via: string | undefined): void {
    if (!tag || !isLater(revision, tag)) return
    const { name, key, stamp, origin } = tag
    this.merge({ kind: 'tag', name, key, stamp, origin }, via)
  }

  /** Notes what was done about a row, unless it has changed since. */
  mark(row: Row, state: RowState): void {
    const key = keyOf(row.entry)
    if (this.#rows.get(key) !== row) return
    const { older, ...rest } = row
    if (state === 'forgetting') this.#buckets.remove(row.entry)
    this.#rows.set(key, { ...rest, state, older: state === 'applied' ? [] : older })
    this.#writer.changed(key)
    if (state === 'pending' || state === 'forgetting') this.#options.onPending(key)
  }

  /** Removes a row for good. */
  drop(key: EntryKey): void {
    const row = this.#rows.get(key)
    if (!row) return
    this.#unlink(key, row)
    this.#rows.delete(key)
    this.journal.forget(key)
    this.#writer.changed(key)
  }

  /** Keeps a fact with the next flush. */
  note(name: string, value: string): void {
    this.#writer.note(name, value)
  }

  /**
   * Resolves when all that was changed before is durable; rejects if it cannot be stored, and keeps it for the next
   * call.
   */
  async flush(): Promise<void> {
    const { last } = this.journal
    await this.#writer.flush()
    this.journal.publish(last)
  }

  #set(key: EntryKey, row: Omit<Row, 'seq' | 'cameAt'>): void {
    const present = this.#rows.get(key)
    if (present) this.#unlink(key, present)
    this.#insert(key, { ...row, seq: this.journal.append(key), cameAt: this.#options.monotonic() })
    this.#writer.changed(key)
  }

  #insert(key: EntryKey, row: Row): void {
    const { entry } = row
    this.#rows.set(key, row)
    if (row.state !== 'forgetting') this.#buckets.add(entry)
    if (entry.kind !== 'tag' || entry.value === undefined) return
    const named = `${entry.name} ${entry.value}`
    const tags = this.#tagsOf.get(named) ?? new Set()
    this.#tagsOf.set(named, tags.add(key))
  }

  #unlink(key: EntryKey, { entry, state }: Row): void {
    if (state !== 'forgetting') this.#buckets.remove(entry)
    const named = `${entry.name} ${entry.value}`
    const tags = this.#tagsOf.get(named)
    tags?.delete(key)
    if (tags?.size === 0) this.#tagsOf.delete(named)
  }

  /** Whether a tag names a manifest, shown or not. */
  isTagged(name: Name, digest: string): boolean {
    return this.#tagsOf.has(`${name} ${digest}`)
  }

  /** Whether a manifest was removed. */
  isRemoved(name: Name, digest: Digest): boolean {
    const row = this.#rows.get(keyOf({ kind: 'revision', name, key: digest }))
    return row !== undefined && row.entry.value === undefined
  }

  /** How an entry fares: whether the tree shows it, or a later one, or not yet; undefined if there is none. */
  fateOf(entry: Entry): 'shown' | 'superseded' | 'waiting' | undefined {
    const row = this.#rows.get(keyOf(entry))
    if (!row) return undefined
    if (compareStamps(row.entry.stamp, entry.stamp) > 0) return 'superseded'
    return row.state === 'applied' ? 'shown' : 'waiting'
  }
}
