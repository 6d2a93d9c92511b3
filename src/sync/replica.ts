import type { Digest } from '../oci/digest.ts'
import type { Name } from '../oci/name.ts'
import { acknowledge } from './acknowledge.ts'
import { SyncAnswers } from './answers.ts'
import { Applier } from './applier.ts'
import { ClusterClock } from './cluster-clock.ts'
import { Collector, collectedFact } from './collector.ts'
import { type Entry, type EntryKind, keyOf } from './entry.ts'
import { type AskPeer, Follower } from './follower.ts'
import { Learner } from './learner.ts'
import { type Found, lookUp } from './lookup.ts'
import { syncVersion } from './messages.ts'
import { Peer, peerFact } from './peer.ts'
import type { ReplicaDeps } from './ports.ts'
import { reconcile } from './reconcile.ts'
import { type ReplicaStatus, statusOf } from './replica-status.ts'
import { type LocalWrite, Table } from './table/table.ts'

/** What a replica is told. */
export interface ReplicaOptions {
  name: string
  peers: readonly string[]
  /** How long tombstones are kept at least, in ms. */
  keepMs: number
}

const clockFact = 'clock'
/** The peers that this replica has not compared itself with since its first start. */
const firstFact = 'first'
const maxUpkeepMs = 60_000
const retryReconcileMs = 10_000
const maxRevealed = 10_000

/**
 * A replica: a table of what is mutable, the tree that shows it, and the peers that it agrees with. It needs none of
 * them to work, and no order between them.
 */
export class SyncReplica {
  readonly name: string
  readonly #deps: ReplicaDeps
  readonly #options: ReplicaOptions
  readonly #stop = new AbortController()
  readonly #table: Table
  readonly #applier: Applier
  readonly #learner: Learner
  readonly #peers = new Map<string, { peer: Peer; stop: AbortController }>()
  #clusterClock: ClusterClock
  #collector: Collector
  #answers: SyncAnswers | undefined
  /**
   * Of each run of the process another one: so no place in a feed means two things, whatever the disk has forgotten.
   */
  #incarnation: string
  #first: Set<string> | undefined
  #facts: Readonly<Record<string, string>> = {}
  #reconciled = false
  /** Tags that clients were given as a peer has them, with what it named. */
  readonly #revealed = new Map<string, Digest>()

  constructor(deps: ReplicaDeps, options: ReplicaOptions) {
    this.name = options.name
    this.#deps = deps
    this.#options = options
    this.#incarnation = deps.unique()
    this.#clusterClock = new ClusterClock(deps.clock)
    const { signal } = this.#stop
    this.#table = new Table(deps.store, {
      now: () => this.#clusterClock.now(),
      monotonic: () => deps.clock.monotonic(),
      keepMs: options.keepMs,
      horizon: () => this.#collector.collected.horizon,
      onPending: key => this.#applier.add(key)
    })
    this.#applier = new Applier({ ...deps, name: this.name, table: this.#table, peers: () => this.peers, signal })
    this.#learner = new Learner({
      name: this.name,
      table: this.#table,
      ask: this.#ask,
      peers: () => this.#allPeers(),
      isFirst: peer => this.#first?.has(peer.name) ?? false,
      collected: () => this.#collector.collected,
      onLearned: collected => this.#collector.learned(collected),
      report: deps.report
    })
    this.#collector = this.#createCollector()
  }

  #createCollector(): Collector {
    const { keepMs } = this.#options
    const now = () => this.#clusterClock.now()
    const monotonic = () => this.#deps.clock.monotonic()
    return new Collector({ table: this.#table, peers: () => this.#allPeers(), now, monotonic, keepMs }, this.#facts[collectedFact])
  }

  /** Reads what is stored and begins. What is not applied yet is applied in the background. */
  async start(): Promise<void> {
    const { clock, store } = this.#deps
    this.#facts = await this.#table.load(store)
    this.#clusterClock = new ClusterClock(clock, Number(this.#facts[clockFact] ?? 0))
    this.#collector = this.#createCollector()
    const first = this.#facts[firstFact]
    this.#first = new Set(first === undefined ? this.#options.peers : (JSON.parse(first) as string[]))
    if (first === undefined) this.#noteFirst()
    this.#answers = this.#createAnswers()
    for (const [key, { state }] of this.#table.rows()) if (state === 'pending' || state === 'forgetting') this.#applier.add(key)
    this.setPeers(this.#options.peers)
    void this.#reconcile()
    this.#upkeep()
  }

  #createAnswers(): SyncAnswers {
    return new SyncAnswers({
      ...this.#deps,
      name: this.name,
      table: this.#table,
      applier: this.#applier,
      collector: this.#collector,
      peer: name => this.#peers.get(name)?.peer,
      self: () => this.#incarnation,
      renew: () => this.#renew(),
      signal: this.#stop.signal
    })
  }

  /** Ends all that runs; what was changed is durable when it resolves. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the replica stops'))
    for (const { stop } of this.#peers.values()) stop.abort(new Error('the replica stops'))
    await this.#table.flush()
  }

  get peers(): string[] {
    return [...this.#peers.keys()]
  }

  /** The peers from now on. One that is gone does not count any more, and one that is new is told everything. */
  setPeers(names: readonly string[]): void {
    for (const [name, { stop }] of this.#peers) {
      if (names.includes(name)) continue
      stop.abort(new Error(`${name} is no peer any more`))
      this.#peers.delete(name)
      this.#clusterClock.forget(name)
    }
    for (const name of names) if (!this.#peers.has(name)) this.#follow(name)
  }

  #follow(name: string): void {
    const peer = new Peer(name, this.#facts[peerFact(name)])
    const stop = new AbortController()
    this.#peers.set(name, { peer, stop })
    const follower = new Follower(peer, {
      ...this.#deps,
      clusterClock: this.#clusterClock,
      table: this.#table,
      ask: this.#ask,
      self: () => this.#incarnation,
      learner: this.#learner,
      onReached: reached => this.#reached(reached)
    })
    void follower.run(stop.signal)
  }

  #reached(peer: Peer): void {
    if (this.#first?.delete(peer.name)) this.#noteFirst()
    this.#applier.retry()
  }

  #noteFirst(): void {
    this.#table.note(firstFact, JSON.stringify([...(this.#first ?? [])]))
  }

  #allPeers(): Peer[] {
    return [...this.#peers.values()].map(each => each.peer)
  }

  #renew(): void {
    this.#incarnation = this.#deps.unique()
    for (const peer of this.#allPeers()) peer.acknowledged = undefined
  }

  readonly #ask: AskPeer = async (peer, question, timeoutMs, signal) => {
    const { net, clock } = this.#deps
    const late = new AbortController()
    const cancel = clock.after(timeoutMs, () => late.abort(new Error(`${peer} did not answer within ${timeoutMs / 1_000} s`)))
    const asker = { version: syncVersion, replica: this.name, incarnation: this.#incarnation }
    try {
      return await net.ask(peer, { ...asker, ...question }, AbortSignal.any([signal, late.signal]))
    } finally {
      cancel()
    }
  }

  async #reconcile(): Promise<void> {
    const { signal } = this.#stop
    const write = (writes: readonly LocalWrite[], at: number) => void this.#table.write(this.name, writes, Math.min(at, this.#now()))
    while (!signal.aborted && !this.#reconciled) {
      try {
        await reconcile({ table: this.#table, tree: this.#deps.tree, write, signal })
        this.#reconciled = true
      } catch {
        await this.#deps.clock.sleep(retryReconcileMs, signal).catch(() => {})
      }
    }
  }

  #now(): number {
    return this.#clusterClock.now()
  }

  #upkeep(): void {
    const { clock } = this.#deps
    if (this.#stop.signal.aborted) return
    this.#table.note(clockFact, String(this.#clusterClock.aheadMs))
    // A disk that takes nothing now takes it the next time.
    void this.#collector.run().catch(() => {})
    clock.after(Math.min(maxUpkeepMs, this.#options.keepMs / 4), () => this.#upkeep())
  }

  /** SyncAnswers a peer; a ProtocolError for a question that is refused. */
  async answer(question: unknown): Promise<object> {
    if (!this.#answers) throw new Error('the replica has not started')
    return this.#answers.answer(question)
  }

  /**
   * The tree was changed here: durable when it resolves. Call it in the order of the changes of a repository. Resolves
   * to what `acknowledge` waits for.
   */
  async wrote(write: LocalWrite): Promise<Entry[]> {
    const entries = this.#table.write(this.name, [write])
    await this.#table.flush()
    return entries
  }

  /** Resolves when a majority holds the entries and all below them; rejects with a NotAcknowledgedError. */
  acknowledge(entries: readonly Entry[], signal: AbortSignal): Promise<void> {
    return acknowledge(entries, { clock: this.#deps.clock, ask: this.#ask, peers: this.peers }, signal)
  }

  /** Asks the peers for what is not here. */
  find(name: Name, reference: string, of: 'manifest' | 'blob', kind: EntryKind, signal: AbortSignal): Promise<Found> {
    const own = this.#table.get(keyOf({ kind, name, key: reference }))?.entry
    const onEntry = (peer: string, entry: Entry) => {
      const asked = this.#peers.get(peer)?.peer
      if (asked && this.#learner.mayTake(asked, entry)) this.#table.merge(entry)
    }
    return lookUp({ name, reference, of }, { clock: this.#deps.clock, ask: this.#ask, peers: () => this.peers, own, onEntry }, signal)
  }

  /**
   * What a tag names: the digest that the tree shows, or what the peers have where it has moved on and is not complete
   * here. A client that was given a later value is not given an earlier one.
   */
  async resolveTag(name: Name, tag: string, signal: AbortSignal): Promise<{ here: Digest } | Found> {
    const key = keyOf({ kind: 'tag', name, key: tag })
    const shown = await this.#deps.tree.shown('tag', name, tag)
    if (shown !== undefined && this.#table.get(key)?.state !== 'pending') {
      this.#revealed.delete(key)
      return { here: shown }
    }
    const found = await this.find(name, tag, 'manifest', 'tag', signal)
    if (found === 'absent') return found
    if ('at' in found) this.#reveal(key, found.digest)
    else if (this.#table.get(key)?.entry.value !== undefined && !this.#revealed.has(key)) {
      const still = await this.#deps.tree.shown('tag', name, tag)
      if (still !== undefined) return { here: still }
    }
    return found
  }

  #reveal(key: string, digest: Digest): void {
    this.#revealed.delete(key)
    this.#revealed.set(key, digest)
    const [oldest] = this.#revealed.keys()
    if (oldest !== undefined && this.#revealed.size > maxRevealed) this.#revealed.delete(oldest)
  }

  status(): ReplicaStatus {
    return statusOf({
      name: this.name,
      incarnation: this.#incarnation,
      table: this.#table,
      applier: this.#applier,
      clusterClock: this.#clusterClock,
      peers: this.#allPeers(),
      reconciled: this.#reconciled,
      now: this.#deps.clock.monotonic()
    })
  }
}
