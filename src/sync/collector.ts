import { compareStamps } from './entry.ts'
import type { Collected } from './learner.ts'
import type { Peer } from './peer.ts'
import type { Table } from './table/table.ts'

/** What tombstones are collected from. */
export interface CollectorDeps {
  table: Table
  peers: () => readonly Peer[]
  /** The cluster clock. */
  now: () => number
  /** The monotonic clock. */
  monotonic: () => number
  keepMs: number
}

// Longer than a message is under way, also when the clock that tells the age was wrong.
const leastMs = 600_000

/** The name of the fact in which the last collection is kept. */
export const collectedFact = 'collected'

/**
 * Removes rows that say nothing any more: tombstones, and links, of which the tree tells what is there. Each is removed
 * when it is old enough and every configured peer has it durably, so that none of them has an older value to bring
 * back.
 */
export class Collector {
  readonly #deps: CollectorDeps
  /** The last collection, and the last place in the feed of what was collected in this incarnation. */
  collected: Collected & { seq: number }

  constructor(deps: CollectorDeps, stored?: string) {
    this.#deps = deps
    const none: Collected = { at: 0, horizon: { time: 0, count: 0 } }
    this.collected = { ...(stored === undefined ? none : (JSON.parse(stored) as Collected)), seq: 0 }
  }

  /** Collects what can be now. */
  async run(): Promise<void> {
    const { table, peers, now, monotonic, keepMs } = this.#deps
    const [time, cameBefore] = [now(), monotonic() - Math.min(leastMs, keepMs)]
    let { at, horizon, seq } = this.collected
    for (const [key, { entry, state, since, cameAt, seq: place }] of table.rows()) {
      if (state !== 'applied' || cameAt > cameBefore || since > time - keepMs || !table.isCollectable(entry, time)) continue
      if (!peers().every(peer => peer.has(place))) continue
      table.drop(key)
      if (entry.value !== undefined) continue
      at = Math.max(time, this.collected.at + 1)
      seq = Math.max(seq, place)
      if (compareStamps(entry.stamp, horizon) > 0) horizon = entry.stamp
    }
    if (at !== this.collected.at) this.#note({ at, horizon, seq })
    await table.flush()
  }

  /** A peer's collection that was learned of; those that follow this replica may have missed it too. */
  learned({ at, horizon }: Collected): void {
    const { collected } = this
    const latest = compareStamps(horizon, collected.horizon) > 0 ? horizon : collected.horizon
    this.#note({ at: Math.max(at, collected.at), horizon: latest, seq: this.#deps.table.journal.head })
  }

  #note({ at, horizon, seq }: Collected & { seq: number }): void {
    this.collected = { at, horizon, seq }
    this.#deps.table.note(collectedFact, JSON.stringify({ at, horizon } satisfies Collected))
  }
}
