import { collectedFact } from '../../src/sync/collector.ts'
import { compareStamps, keyOf, type Stamp } from '../../src/sync/entry.ts'
import type { Written } from './clients.ts'
import { Disk } from './machine.ts'
import type { Network } from './network.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

/** What faults happen to. */
export interface FaultsDeps {
  world: World
  network: Network
  nodes: readonly SimNode[]
  writes: readonly Written[]
}

const hourMs = 3_600_000

/** Breaks the machines of a simulation, and repairs them. It never takes the last copy of what a majority acknowledged. */
export class Faults {
  readonly story: string[] = []
  readonly #deps: FaultsDeps
  #members: SimNode[]
  readonly #snapshots = new Map<SimNode, Disk>()
  /** When each disk last lost something, by the time of the simulation. */
  readonly #lostAt = new Map<string, number>()
  #over = false

  constructor(deps: FaultsDeps) {
    this.#deps = deps
    this.#members = [...deps.nodes]
  }

  /** The nodes that are configured. */
  get members(): readonly SimNode[] {
    return this.#members
  }

  start(node: SimNode): void {
    if (!node.running) node.start(this.#peersOf(node))
  }

  #peersOf(node: SimNode): string[] {
    return this.#members.filter(each => each !== node).map(each => each.name)
  }

  #tell(text: string): void {
    this.story.push(`${(this.#deps.world.now / 1_000).toFixed(1)} s: ${text}`)
  }

  /** Faults from now on until `endAt`; how many of which kind depends on the seed. `slow`: few, and long absences. */
  begin(endAt: number, slow: boolean): void {
    const { world } = this.#deps
    const { chance } = world
    const pauseMs = slow ? 20_000 : chance.of([2_000, 8_000, 25_000, 80_000])
    const kinds = slow ? [() => this.#changeMembers(), () => this.#crash()] : this.#kinds().filter(() => chance.happens(0.7))
    if (kinds.length === 0) return
    const next = () => {
      if (world.now >= endAt) return
      chance.of(kinds)()
      world.after(chance.between(1, 2 * pauseMs), next)
    }
    world.after(chance.between(1, pauseMs), next)
  }

  #kinds(): (() => void)[] {
    return [
      () => this.#crash(),
      () => this.#partition(),
      () => this.#partition(),
      () => this.#isolate(),
      () => this.#badNetwork(),
      () => this.#wipe(),
      () => this.#snapshot(),
      () => this.#rollBack(),
      () => this.#jump(),
      () => this.#fillDisk(),
      () => this.#changeMembers()
    ]
  }

  #later(lowMs: number, highMs: number, task: () => void): void {
    const { world } = this.#deps
    world.after(world.chance.between(lowMs, highMs), () => {
      if (!this.#over) task()
    })
  }

  #member(): SimNode {
    return this.#deps.world.chance.of(this.#members)
  }

  #crash(): void {
    const node = this.#member()
    this.#tell(`${node.name} dies`)
    node.crash()
    this.#later(10, 40_000, () => this.#restart(node))
  }

  #restart(node: SimNode): void {
    if (node.running || !this.#members.includes(node)) return
    this.#tell(`${node.name} starts`)
    this.start(node)
  }

  #partition(): void {
    const { chance } = this.#deps.world
    const [a, b] = [this.#member(), this.#member()]
    if (a === b) return
    this.#tell(`nothing gets from ${a.name} to ${b.name}`)
    this.#deps.network.cut(a.name, b.name)
    if (chance.happens(0.6)) this.#deps.network.cut(b.name, a.name)
    this.#later(2_000, 150_000, () => this.#healNetwork())
  }

  #isolate(): void {
    const node = this.#member()
    this.#tell(`${node.name} is cut off`)
    for (const each of this.#deps.nodes) {
      this.#deps.network.cut(node.name, each.name)
      this.#deps.network.cut(each.name, node.name)
    }
    this.#later(2_000, 200_000, () => this.#healNetwork())
  }

  #healNetwork(): void {
    this.#tell('the network heals')
    this.#deps.network.heal()
  }

  #badNetwork(): void {
    const { chance } = this.#deps.world
    this.#tell('the network loses, doubles and delays')
    this.#deps.network.chances = { lost: chance.next() * 0.2, doubled: chance.next() * 0.3, late: chance.next() * 0.4 }
  }

  #wipe(): void {
    const node = this.#member()
    if (!this.#mayLose(node, new Disk())) return
    this.#tell(`the disk of ${node.name} is wiped`)
    this.#lose(node, new Disk())
  }

  #snapshot(): void {
    const node = this.#member()
    this.#snapshots.set(node, node.disk.snapshot())
  }

  #rollBack(): void {
    const node = this.#member()
    const snapshot = this.#snapshots.get(node)
    if (!snapshot || !this.#mayLose(node, snapshot)) return
    this.#tell(`the disk of ${node.name} is rolled back to a snapshot`)
    this.#lose(node, snapshot.snapshot())
  }

  #lose(node: SimNode, disk: Disk): void {
    this.#lostAt.set(node.name, this.#deps.world.now)
    node.replaceDisk(disk)
    this.#later(10, 20_000, () => this.#restart(node))
  }

  // Whether what a majority acknowledged is on another member's disk too.
  #mayLose(node: SimNode, next: Disk): boolean {
    const others = [...this.#members.filter(each => each !== node).map(each => each.disk), next]
    if (others.length < 2) return false
    return this.#deps.writes.every(({ entry, acknowledged }) => {
      if (acknowledged !== 'majority' || !entry) return true
      const key = keyOf(entry)
      return others.some(disk => {
        const row = disk.rows.get(key)
        if (!row) return entry.value === undefined && hasCollected(disk, entry.stamp)
        const shown = disk.shown('tag', entry.name, entry.key)
        if (compareStamps(row.entry.stamp, entry.stamp) < 0 || row.state !== 'applied') return false
        return row.entry.value === undefined || (shown !== undefined && disk.missingBelow(entry.name, shown, () => true).length === 0)
      })
    })
  }

  #jump(): void {
    const { chance } = this.#deps.world
    const node = this.#member()
    const byMs = chance.of([-hourMs, hourMs, 600_000, -5_000])
    this.#tell(`the clock of ${node.name} jumps by ${byMs / 1_000} s`)
    node.clockAheadMs += byMs
  }

  #fillDisk(): void {
    const node = this.#member()
    const { disk } = node
    this.#tell(`the disk of ${node.name} is full`)
    disk.full = true
    this.#later(1_000, 60_000, () => {
      disk.full = false
    })
  }

  #changeMembers(): void {
    const node = this.#member()
    if (this.#members.length < 3 || this.#members.length < this.#deps.nodes.length || !this.#mayLose(node, new Disk())) return
    this.#tell(`${node.name} is taken out of the configuration and stopped`)
    this.#lostAt.set(node.name, this.#deps.world.now)
    node.crash()
    this.#setMembers(this.#members.filter(each => each !== node))
    this.#later(5_000, 500_000, () => this.#takeIn(node))
  }

  #takeIn(node: SimNode): void {
    this.#tell(`${node.name} is configured again`)
    this.#setMembers(this.#deps.nodes.filter(each => each === node || this.#members.includes(each)))
    this.start(node)
  }

  #setMembers(members: readonly SimNode[]): void {
    this.#members = [...members]
    for (const each of members) each.replica?.setPeers(this.#peersOf(each))
  }

  /** Repairs everything that can be repaired. */
  heal(): void {
    this.#over = true
    this.#tell('all is healed')
    this.#deps.network.heal()
    this.#setMembers(this.#deps.nodes)
    for (const node of this.#deps.nodes) {
      node.disk.full = false
      this.start(node)
    }
  }

  /** Whether a write may be lost: it was acknowledged by one replica alone, whose disk lost something after it. */
  excuses({ node, acknowledged, startedAt }: Written): boolean {
    return acknowledged === 'local' && (this.#lostAt.get(node) ?? -1) >= startedAt
  }
}

function hasCollected(disk: Disk, stamp: Stamp): boolean {
  const fact = disk.facts.get(collectedFact)
  return fact !== undefined && compareStamps((JSON.parse(fact) as { horizon: Stamp }).horizon, stamp) >= 0
}
