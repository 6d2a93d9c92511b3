import type { Digest } from '../../src/oci/digest.ts'
import type { Name } from '../../src/oci/name.ts'
import type { Entry } from '../../src/sync/entry.ts'
import { keyOf } from '../../src/sync/entry.ts'
import type { TableStore } from '../../src/sync/ports.ts'
import { SyncReplica } from '../../src/sync/replica.ts'
import { Disk } from './machine.ts'
import type { Network } from './network.ts'
import { SimTree } from './tree.ts'
import { Life, type World } from './world.ts'

/** What a simulated replica shares with the others. */
export interface SimCluster {
  world: World
  network: Network
  keepMs: number
  /** A tombstone was collected on a member. */
  onCollected: (entry: Entry) => void
  /** No replica has the content of an entry. */
  onLost: (entry: Entry) => void
}

/** A machine with a replica: a disk that stays, a clock that may be wrong, and a process that may die. */
export class SimNode {
  readonly name: string
  disk = new Disk()
  clockAheadMs = 0
  replica: SyncReplica | undefined
  tree: SimTree | undefined
  /** Counts the runs of its process. */
  runs = 0
  #life: Life | undefined
  #given = 0
  readonly #cluster: SimCluster

  constructor(name: string, cluster: SimCluster) {
    this.name = name
    this.#cluster = cluster
  }

  get running(): boolean {
    return this.#life?.alive ?? false
  }

  /** Starts the process. It answers at once, as a server does. */
  start(peers: readonly string[]): void {
    const { world, network, keepMs } = this.#cluster
    const life = new Life(world)
    this.#life = life
    this.runs++
    const tree = new SimTree(world, life, this.disk, (peer, name, digest) => this.#fetch(life, peer, name, digest))
    const store = this.#store(life)
    const net = { ask: (peer: string, question: object, signal: AbortSignal) => network.ask(this.name, peer, question, signal) }
    const replica = new SyncReplica(
      {
        clock: life.clock(() => this.clockAheadMs),
        net,
        store,
        tree,
        unique: () => `${this.name}-${++this.#given}`,
        report: event => {
          if (event.kind === 'lost') this.#cluster.onLost(event.entry)
        }
      },
      { name: this.name, peers, keepMs }
    )
    this.replica = replica
    this.tree = tree
    network.attach(this.name, { answer: question => this.#answer(question, replica) })
    void replica.start()
  }

  #answer(question: unknown, replica: SyncReplica): Promise<unknown> {
    const fetched = question as { fetch?: [Name, Digest] }
    if (!fetched.fetch) return replica.answer(question)
    const [name, digest] = fetched.fetch
    const shown = this.disk.shown('revision', name, digest) ?? this.disk.shown('link', name, digest)
    return Promise.resolve({ bytes: shown && this.disk.bytes.get(shown) })
  }

  /** The bytes that a peer's repository has. */
  fetchFrom(peer: string, name: Name, digest: Digest): Promise<string | undefined> {
    return this.#life ? this.#fetch(this.#life, peer, name, digest) : Promise.reject(new Error('no process'))
  }

  async #fetch(life: Life, peer: string, name: Name, digest: Digest): Promise<string | undefined> {
    const late = new AbortController()
    const cancel = life.clock(() => 0).after(5_000, () => late.abort(new Error(`${peer} does not send`)))
    try {
      const answer = await this.#cluster.network.ask(this.name, peer, { fetch: [name, digest] }, late.signal)
      return (answer as { bytes?: string }).bytes
    } finally {
      cancel()
    }
  }

  #store(life: Life): TableStore {
    const { disk } = this
    const { world, onCollected } = this.#cluster
    return {
      load: async () => ({ rows: [...disk.rows.values()], facts: Object.fromEntries(disk.facts) }),
      save: ({ rows, dropped, facts }) =>
        life.write(world.chance.between(1, 30), () => {
          for (const row of rows) disk.rows.set(keyOf(row.entry), row)
          for (const key of dropped) {
            const row = disk.rows.get(key)
            if (row && row.entry.value === undefined) onCollected(row.entry)
            disk.rows.delete(key)
          }
          for (const [name, value] of Object.entries(facts)) disk.facts.set(name, value)
        })
    }
  }

  /** The process dies; what was under way has reached the disk or not. */
  crash(): void {
    this.#life?.end()
    this.#cluster.network.attach(this.name, undefined)
    this.replica = undefined
    this.tree = undefined
  }

  /** The disk is another one from now on. */
  replaceDisk(disk: Disk): void {
    this.crash()
    this.disk = disk
  }
}
