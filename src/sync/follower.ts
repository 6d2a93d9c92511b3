import type { Clock } from '../../storage/clock.ts'
import type { ClusterClock } from './cluster-clock.ts'
import { type Entry, type EntryKey, keyOf } from './entry.ts'
import type { Learner } from './learner.ts'
import { ProtocolError, type Question, readBucket, readFeed, readInventory } from './messages.ts'
import { type Peer, peerFact } from './peer.ts'
import type { SyncEvent } from './ports.ts'
import type { Table } from './table/table.ts'

/** A question without the asker. */
export type Asked = Question extends infer Each
  ? Each extends Question
    ? Omit<Each, 'version' | 'replica' | 'incarnation'>
    : never
  : never

/** Asks a peer; rejects if no answer comes within `timeoutMs`. */
export type AskPeer = (peer: string, question: Asked, timeoutMs: number, signal: AbortSignal) => Promise<unknown>

/** What a follower is made over. */
export interface FollowerDeps {
  clock: Clock
  clusterClock: ClusterClock
  table: Table
  ask: AskPeer
  /** The incarnation of this replica. */
  self: () => string
  learner: Learner
  /** The peer answers for the first time, or again. */
  onReached: (peer: Peer) => void
  report: (event: SyncEvent) => void
}

type Feed = ReturnType<typeof readFeed>

const waitMs = 25_000
// For an answer, beyond the wait.
const answerMs = 10_000
const firstBackoffMs = 200
const maxBackoffMs = 5_000
const inventoryEveryMs = 60_000
const clockAlertMs = 5_000
const maxPages = 10_000

/** Follows the feed of a peer: what changed there is merged here, in order, and once a minute all of it is compared. */
export class Follower {
  readonly #deps: FollowerDeps
  readonly #peer: Peer
  #alerted = false

  constructor(peer: Peer, deps: FollowerDeps) {
    this.#peer = peer
    this.#deps = deps
  }

  /** Resolves when `signal` is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#read(signal)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        this.#lost(error as Error)
        await this.#deps.clock.sleep(Math.min(maxBackoffMs, firstBackoffMs * 2 ** Math.min(failures++, 10)), signal).catch(() => {})
      }
    }
  }

  #lost(error: Error): void {
    const peer = this.#peer
    const kind = error instanceof ProtocolError ? 'refused' : 'peer-lost'
    if (peer.reachable !== false || (kind === 'refused' && peer.reason !== error.message))
      this.#deps.report({ kind, peer: peer.name, reason: error.message })
    peer.reachable = false
    peer.reason = error.message
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { clock, ask, self, learner } = this.#deps
    const peer = this.#peer
    const askedAt = clock.monotonic()
    // The first answer of a peer is not waited for.
    const wait = peer.reachable ? waitMs : 0
    const answer = readFeed(await ask(peer.name, { kind: 'feed', after: peer.position, waitMs: wait }, wait + answerMs, signal))
    if (answer.incarnation === self()) throw new ProtocolError('at its address answers this replica itself')
    if (answer.replica !== peer.name) throw new ProtocolError(`at its address answers the replica ${answer.replica}`)
    this.#observe(answer, askedAt)
    if (answer.entries === undefined || learner.mustLearn(peer, answer)) await this.#compare(answer, signal)
    else {
      this.#take(answer.entries, answer.incarnation)
      await this.#moveTo(answer.incarnation, answer.next)
      await this.#compareNowAndThen(answer, signal)
    }
    learner.covered(peer, answer.collected.at)
    this.#reached()
  }

  #observe({ now, waitedMs, head, covered }: Feed, askedAt: number): void {
    const { clock, clusterClock, report } = this.#deps
    const peer = this.#peer
    clusterClock.observe(peer.name, now, Math.min(clock.monotonic(), askedAt + waitedMs))
    const aheadMs = clusterClock.aheadOf(peer.name) ?? 0
    const wrong = Math.abs(aheadMs) > clockAlertMs
    if (wrong && !this.#alerted) report({ kind: 'clock', peer: peer.name, aheadMs })
    this.#alerted = wrong
    peer.head = head
    peer.covers = covered
    peer.answeredAt = clock.monotonic()
  }

  #reached(): void {
    const peer = this.#peer
    const first = !peer.reachable || !peer.compared
    peer.reachable = true
    peer.reason = undefined
    peer.compared = true
    if (!first) return
    this.#deps.report({ kind: 'peer-reached', peer: peer.name })
    this.#deps.onReached(peer)
  }

  async #compareNowAndThen(answer: Feed, signal: AbortSignal): Promise<void> {
    const { clock, table } = this.#deps
    const peer = this.#peer
    peer.equal = peer.position.seq >= answer.head && table.root() === answer.root
    const due = clock.monotonic() - peer.inventoriedAt >= inventoryEveryMs
    if (peer.equal) peer.inventoriedAt = clock.monotonic()
    else if (due && peer.position.seq >= answer.head) await this.#takeInventory(answer, signal)
  }

  #take(entries: readonly Entry[], incarnation: string): void {
    const { table, learner } = this.#deps
    for (const each of entries) if (learner.mayTake(this.#peer, each)) table.merge(each, incarnation)
  }

  // The place in the feed is unknown, or something that went by it was missed.
  async #compare(answer: Feed, signal: AbortSignal): Promise<void> {
    const { table, learner } = this.#deps
    const peer = this.#peer
    const theirs = table.root() === answer.root ? undefined : await this.#takeInventory(answer, signal)
    if (theirs && learner.mustLearn(peer, answer)) await learner.learn(peer, answer.collected, theirs, signal)
    await this.#moveTo(answer.incarnation, answer.head)
  }

  // Resolves to the keys that the peer has, of each bucket that differs.
  async #takeInventory({ incarnation }: Feed, signal: AbortSignal): Promise<Map<number, Set<EntryKey>>> {
    const { clock, table, ask } = this.#deps
    const { name } = this.#peer
    const answer = await ask(name, { kind: 'inventory', sums: table.buckets.sums() }, answerMs, signal)
    const theirs = new Map<number, Set<EntryKey>>()
    for (const bucket of readInventory(answer).differing) theirs.set(bucket, await this.#takeBucket(bucket, incarnation, signal))
    await table.flush()
    this.#peer.inventoriedAt = clock.monotonic()
    return theirs
  }

  async #takeBucket(bucket: number, incarnation: string, signal: AbortSignal): Promise<Set<EntryKey>> {
    const { ask } = this.#deps
    const keys = new Set<EntryKey>()
    for (let [after, pages] = ['', 0]; ; pages++) {
      const { entries, next } = readBucket(await ask(this.#peer.name, { kind: 'bucket', bucket, after }, answerMs, signal))
      for (const each of entries) keys.add(keyOf(each))
      this.#take(entries, incarnation)
      if (next === undefined) return keys
      if (next <= after || pages === maxPages) throw new ProtocolError('a bucket without an end')
      after = next
    }
  }

  // What was merged is durable before the peer is told so, by the next question.
  async #moveTo(incarnation: string, seq: number): Promise<void> {
    const { table } = this.#deps
    const peer = this.#peer
    const position = { incarnation, seq }
    if (peer.position.seq !== seq || peer.position.incarnation !== incarnation) table.note(peerFact(peer.name), peer.stored(position))
    await table.flush()
    peer.position = position
  }
}
