import { compareStamps, type Entry, type EntryKey, keyOf, type Stamp } from './entry.ts'
import type { AskPeer } from './follower.ts'
import { readLookup } from './messages.ts'
import { type Peer, peerFact } from './peer.ts'
import type { SyncEvent } from './ports.ts'
import type { Row, Table } from './table/table.ts'

/** What a learner is made over. */
export interface LearnerDeps {
  /** The name of this replica. */
  name: string
  table: Table
  ask: AskPeer
  peers: () => readonly Peer[]
  /** Whether this replica meets the peer for the first time in its life: what is its own then was never removed. */
  isFirst: (peer: Peer) => boolean
  /** The last collection here. */
  collected: () => Collected
  /** A peer's collection that was missed here is told of to those that follow this replica. */
  onLearned: (collected: Collected) => void
  report: (event: SyncEvent) => void
}

/** A collection of tombstones: when, by the cluster clock, and the latest stamp of what was collected. */
export interface Collected {
  at: number
  horizon: Stamp
}

const lookupMs = 5_000

/**
 * A replica that missed tombstones before they were collected has entries that were removed elsewhere long ago. It
 * takes the peer's table, and of its own entries that are as old forgets those that no peer has, of those peers that
 * missed nothing themselves.
 */
export class Learner {
  readonly #deps: LearnerDeps

  constructor(deps: LearnerDeps) {
    this.#deps = deps
  }

  /**
   * Whether an entry of a peer is taken. A peer that has missed a collection here may have what was removed: an entry
   * that is as old, and that is not known here, waits until the peer has learned.
   */
  mayTake({ covers }: Peer, entry: Entry): boolean {
    const { table, collected } = this.#deps
    const { at, horizon } = collected()
    if (covers >= at || entry.value === undefined || table.get(keyOf(entry))) return true
    return compareStamps(entry.stamp, horizon) > 0
  }

  /** Whether tombstones were collected that this replica may not have seen: they lie behind its place in the feed. */
  mustLearn(
    { position, covered }: Peer,
    { incarnation, collected }: { incarnation: string; collected: Collected & { seq: number } }
  ): boolean {
    return collected.at > covered && !(position.incarnation === incarnation && position.seq >= collected.seq)
  }

  /** Everything that was collected until `at` was seen here or was learned. */
  covered(peer: Peer, at: number): void {
    if (at <= peer.covered) return
    peer.covered = at
    this.#deps.table.note(peerFact(peer.name), peer.stored())
  }

  /** Forgets what the peer must have removed. `theirs`: the keys that it has, of each bucket that differs. */
  async learn(peer: Peer, collected: Collected, theirs: ReadonlyMap<number, ReadonlySet<EntryKey>>, signal: AbortSignal): Promise<void> {
    const { table, onLearned, report } = this.#deps
    for (const [bucket, keys] of theirs) {
      for (const key of [...table.buckets.keys(bucket)]) {
        const row = table.get(key)
        if (!row || keys.has(key) || !this.#isDoubtful(row, peer, collected.horizon)) continue
        if (await this.#isElsewhere(row.entry, peer, collected.at, signal)) continue
        report({ kind: 'forgotten', entry: row.entry, peer: peer.name })
        table.mark(row, 'forgetting')
      }
    }
    onLearned(collected)
    await table.flush()
  }

  // Of links the tree tells, and their rows are collected as well.
  #isDoubtful({ entry, via }: Row, peer: Peer, horizon: Stamp): boolean {
    const { name, isFirst } = this.#deps
    if (entry.value === undefined || entry.kind === 'link' || compareStamps(entry.stamp, horizon) > 0) return false
    return !(isFirst(peer) && via === undefined && entry.origin === name)
  }

  async #isElsewhere({ name, key }: Entry, but: Peer, at: number, signal: AbortSignal): Promise<boolean> {
    const question = { kind: 'lookup', name, reference: key, of: 'manifest', covering: { replica: but.name, at } } as const
    const others = this.#deps.peers().filter(each => each !== but)
    const answers = await Promise.allSettled(
      others.map(async each => readLookup(await this.#deps.ask(each.name, question, lookupMs, signal)).entry?.value)
    )
    return answers.some(each => each.status === 'fulfilled' && each.value !== undefined)
  }
}
