import type { Clock } from '../../storage/clock.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import type { Applier } from './applier.ts'
import type { Collector } from './collector.ts'
import { type Entry, type EntryKey, type EntryKind, keyOf, sendEntry } from './entry.ts'
import {
  type Asker,
  type BucketAnswer,
  type ConfirmAnswer,
  type FeedAnswer,
  type InventoryAnswer,
  type LookupAnswer,
  maxEntries,
  ProtocolError,
  type ReadQuestion,
  readQuestion,
  syncVersion
} from './messages.ts'
import type { Peer } from './peer.ts'
import type { SyncTree } from './ports.ts'
import type { Table } from './table/table.ts'

/** What questions are answered from. */
export interface AnswersDeps {
  name: string
  clock: Clock
  table: Table
  tree: SyncTree
  applier: Applier
  collector: Pick<Collector, 'collected'>
  peer: (name: string) => Peer | undefined
  /** The incarnation of this replica. */
  self: () => string
  /** A peer has read on in this incarnation's feed than it goes: the past of this process was undone. */
  renew: () => void
  signal: AbortSignal
}

type Of<Kind extends ReadQuestion['kind']> = Extract<ReadQuestion, { kind: Kind }> & Asker

/** SyncAnswers the questions of peers. */
export class SyncAnswers {
  readonly #deps: AnswersDeps

  constructor(deps: AnswersDeps) {
    this.#deps = deps
  }

  /** SyncAnswers a question as it came; a ProtocolError for a bad one, or if no peer may ask it. */
  async answer(question: unknown): Promise<object> {
    const asked = readQuestion(question)
    const { name, self } = this.#deps
    if (asked.replica === name && asked.incarnation !== self())
      throw new ProtocolError(`another replica is called ${name} too: each needs a name of its own (replicas.self)`)
    const peer = this.#deps.peer(asked.replica)
    if (!peer) throw new ProtocolError(`${asked.replica} is not in replicas.peers of ${name}`)
    if (!peer.asks(asked.incarnation))
      throw new ProtocolError(`two replicas are called ${asked.replica}: each needs a name of its own (replicas.self)`)
    switch (asked.kind) {
      case 'feed':
        return this.#feed(asked, peer)
      case 'inventory':
        return this.#inventory(asked)
      case 'bucket':
        return this.#bucket(asked)
      case 'confirm':
        return this.#confirm(asked)
      case 'lookup':
        return this.#lookup(asked)
    }
  }

  async #feed({ after, waitMs, incarnation }: Of<'feed'>, peer: Peer): Promise<FeedAnswer> {
    const { clock, table, self, renew } = this.#deps
    const askedAt = clock.monotonic()
    if (after.incarnation === self() && after.seq > table.journal.head) renew()
    const known = after.incarnation === self()
    peer.acknowledged = known ? after.seq : undefined
    if (known && table.since(after.seq, 1, incarnation).entries.length === 0) await this.#change(waitMs)
    const { name, collector } = this.#deps
    const told = table.since(after.seq, maxEntries, incarnation)
    const { at, horizon, seq } = collector.collected
    return {
      version: syncVersion,
      replica: name,
      incarnation: self(),
      now: Math.floor(clock.now()),
      waitedMs: Math.floor(clock.monotonic() - askedAt),
      ...(known && after.incarnation === self() ? { entries: told.entries.map(sendEntry), next: told.next } : { next: 0 }),
      head: table.journal.head,
      root: table.root(),
      collected: { at, ...horizon, seq },
      covered: peer.covered
    }
  }

  #change(waitMs: number): Promise<void> {
    const { clock, table, signal } = this.#deps
    return new Promise(resolve => {
      const done = () => {
        cancel()
        forget()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const forget = table.journal.onNext(done)
      const cancel = clock.after(waitMs, done)
      signal.addEventListener('abort', done)
      if (signal.aborted) done()
    })
  }

  async #inventory({ sums }: Of<'inventory'>): Promise<InventoryAnswer> {
    const { table } = this.#deps
    return { head: table.journal.head, differing: table.buckets.differing(sums) }
  }

  async #bucket({ bucket, after }: Of<'bucket'>): Promise<BucketAnswer> {
    const entries = this.#deps.table.bucket(bucket, after, maxEntries)
    const last = entries.at(-1)
    return { entries: entries.map(sendEntry), ...(entries.length === maxEntries && last ? { next: keyOf(last) } : {}) }
  }

  async #confirm({ entries, waitMs, incarnation }: Of<'confirm'>): Promise<ConfirmAnswer> {
    const { clock, table, applier } = this.#deps
    for (const each of entries) table.merge(each, incarnation)
    await table.flush()
    const until = clock.monotonic() + waitMs
    for (const each of entries) {
      while (table.fateOf(each) === 'waiting' && clock.monotonic() < until)
        await this.#progress(keyOf(each), applier, until - clock.monotonic())
    }
    for (const each of entries) {
      const fate = table.fateOf(each)
      if (fate === undefined) return { applied: false, reason: 'it takes no more entries' }
      if (fate === 'waiting') return { applied: false, reason: `it has not all of ${each.name} ${each.key} yet` }
    }
    return { applied: true }
  }

  #progress(key: EntryKey, applier: Applier, waitMs: number): Promise<void> {
    const { clock, signal } = this.#deps
    return new Promise(resolve => {
      const done = () => {
        cancel()
        unwatch()
        resolve()
      }
      const unwatch = applier.watch(key, done)
      const cancel = clock.after(signal.aborted ? 0 : waitMs, done)
    })
  }

  async #lookup({ name, reference, of, covering }: Of<'lookup'>): Promise<LookupAnswer> {
    const { table, tree, peer } = this.#deps
    if (covering && covering.replica !== this.#deps.name && (peer(covering.replica)?.covered ?? 0) < covering.at) return {}
    const kind: EntryKind = of === 'blob' ? 'link' : isDigest(reference) ? 'revision' : 'tag'
    const row = table.get(keyOf({ kind, name, key: reference }))
    const entry: Entry | undefined = row?.state === 'forgetting' ? undefined : row?.entry
    const here = of === 'blob' ? await this.#blobHere(name, reference as Digest) : await tree.shown(kind, name, reference)
    return { ...(entry ? { entry: sendEntry(entry) } : {}), ...(here === undefined ? {} : { here }) }
  }

  async #blobHere(name: Of<'lookup'>['name'], digest: Digest): Promise<Digest | undefined> {
    return (await this.#deps.tree.hasBlob(name, digest)) ? digest : undefined
  }
}
