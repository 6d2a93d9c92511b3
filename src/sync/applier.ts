import type { Clock } from '../../storage/clock.ts'
import { type CompleteOptions, completeBlob, completeManifest } from './complete.ts'
import { type EntryKey, keyOf } from './entry.ts'
import { repairLost } from './lost.ts'
import type { SyncEvent, SyncTree } from './ports.ts'
import type { Row, Table } from './table/table.ts'
import { WaitingKeys } from './waiting-keys.ts'

/** What an applier is made over. */
export interface ApplierDeps {
  clock: Clock
  /** The name of this replica. */
  name: string
  table: Table
  tree: SyncTree
  /** The peers that content is copied from. */
  peers: () => readonly string[]
  report: (event: SyncEvent) => void
  signal: AbortSignal
}

const lanes = 6
const firstRetryMs = 500
const maxRetryMs = 30_000

/** Makes the tree show what the table says: a few keys at a time, and what failed again after a while. */
export class Applier {
  readonly #deps: ApplierDeps
  readonly #waiting = new WaitingKeys()
  readonly #running = new Set<EntryKey>()
  /** Keys that changed while they ran. */
  readonly #again = new Set<EntryKey>()
  /** Keys that failed: how often, and how to end the wait for the next attempt. */
  readonly #failed = new Map<EntryKey, { attempts: number; cancel: () => void }>()
  /** Since when no replica has the content of a key, by the monotonic clock. */
  readonly #lackedSince = new Map<EntryKey, number>()
  readonly #watching = new Map<EntryKey, Set<() => void>>()

  constructor(deps: ApplierDeps) {
    this.#deps = deps
    deps.signal.addEventListener('abort', () => {
      for (const each of this.#failed.values()) each.cancel()
    })
  }

  /** How many keys are not applied. */
  get backlog(): number {
    return this.#waiting.size + this.#running.size + this.#failed.size
  }

  /** The row of the key is to be applied, or forgotten. */
  add(key: EntryKey): void {
    this.#failed.get(key)?.cancel()
    if (this.#running.has(key)) {
      this.#again.add(key)
      return
    }
    this.#waiting.add(key)
    this.#fill()
  }

  /** Tries again what failed: a peer can be asked again. */
  retry(): void {
    for (const key of this.#failed.keys()) this.add(key)
  }

  /** Calls `wake` whenever something was done about the key, until the returned function is called. */
  watch(key: EntryKey, wake: () => void): () => void {
    const all = this.#watching.get(key) ?? new Set()
    this.#watching.set(key, all.add(wake))
    return () => {
      all.delete(wake)
      if (all.size === 0 && this.#watching.get(key) === all) this.#watching.delete(key)
    }
  }

  #fill(): void {
    while (this.#running.size < lanes && !this.#deps.signal.aborted) {
      const key = this.#waiting.take()
      if (key === undefined) return
      this.#running.add(key)
      void this.#run(key)
    }
  }

  async #run(key: EntryKey): Promise<void> {
    const { table, signal } = this.#deps
    const row = table.get(key)
    try {
      if (row?.state === 'pending') await this.#apply(key, row)
      else if (row?.state === 'forgetting') await this.#forget(key, row)
      this.#failed.delete(key)
    } catch (error) {
      if (row && !signal.aborted) this.#fails(key, row, error as Error)
    }
    this.#running.delete(key)
    if (this.#again.delete(key)) this.#waiting.add(key)
    for (const wake of [...(this.#watching.get(key) ?? [])]) wake()
    this.#fill()
  }

  #fails(key: EntryKey, { entry }: Row, { message }: Error): void {
    const attempts = (this.#failed.get(key)?.attempts ?? 0) + 1
    const waitMs = Math.min(maxRetryMs, firstRetryMs * 2 ** Math.min(attempts - 1, 8))
    this.#failed.set(key, { attempts, cancel: this.#deps.clock.after(waitMs, () => this.add(key)) })
    this.#deps.report({ kind: 'failed', entry, attempts, reason: message })
  }

  async #apply(key: EntryKey, row: Row): Promise<void> {
    const { table } = this.#deps
    // A tree that shows what the stored table does not know would be taken for a write of this replica.
    await table.flush()
    const wanted = () => table.get(key) === row
    const done = await this.#show(row, wanted)
    if (!wanted()) return
    if (done === 'none') await this.#lacks(key, row)
    else table.mark(row, 'applied')
    this.#lackedSince.delete(key)
    await table.flush()
  }

  // No replica has it now. One may be about to say that it was removed.
  async #lacks(key: EntryKey, row: Row): Promise<void> {
    const { clock } = this.#deps
    const since = this.#lackedSince.get(key) ?? clock.monotonic()
    this.#lackedSince.set(key, since)
    const repaired = await repairLost(row, clock.monotonic() - since, { ...this.#deps, wanted: () => this.#deps.table.get(key) === row })
    if (!repaired) throw new Error('no replica has its content')
    this.#deps.report({ kind: 'lost', entry: row.entry })
  }

  async #show({ entry }: Row, wanted: () => boolean): Promise<'done' | 'none'> {
    const { kind, name, key, value } = entry
    const { tree, table, peers, signal } = this.#deps
    if (value === undefined) {
      await tree.remove(kind, name, key, wanted)
      return 'done'
    }
    const options: CompleteOptions = {
      tree,
      peers,
      signal,
      isRemoved: (of, digest) => table.isRemoved(of, digest),
      onLinked: (of, digest) => {
        if (!table.get(keyOf({ kind: 'revision', name: of, key: digest }))) table.assert(entry, digest)
      }
    }
    const done = await (kind === 'link' ? completeBlob(name, value, options) : completeManifest(name, value, wanted, options))
    if (done === 'done' && kind === 'tag') await tree.setTag(name, key, value, wanted)
    return done === 'none' ? 'none' : 'done'
  }

  // The row goes after what it says: a crash between leaves the row, which says what is to be done.
  async #forget(key: EntryKey, row: Row): Promise<void> {
    const { table, tree } = this.#deps
    await table.flush()
    const { kind, name, key: of } = row.entry
    await tree.remove(kind, name, of, () => table.get(key) === row)
    if (table.get(key) !== row) return
    table.drop(key)
    await table.flush()
  }
}
