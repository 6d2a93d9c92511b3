import { isDeepStrictEqual } from 'node:util'
import { type Entry, keyOf } from '../../src/sync/entry.ts'
import { Clients } from './clients.ts'
import { Faults } from './faults.ts'
import { Judge } from './judge.ts'
import type { Disk } from './machine.ts'
import { Network } from './network.ts'
import { SimNode } from './node.ts'
import { World } from './world.ts'

/** What came of a seed. */
export interface Outcome {
  seed: number
  violations: string[]
  /** What happened, for people. */
  story: string[]
  replicas: number
  messages: number
}

// How long tombstones are kept: longer than a message can be under way.
const keepMs = 90_000
const quietMs = 900_000
const lookEveryMs = 5_000

/** Runs the replicas of a seed under faults, then heals everything, and judges. */
export async function simulate(seed: number): Promise<Outcome> {
  const world = new World(seed)
  const { chance } = world
  const network = new Network(world)
  const nodes: SimNode[] = []
  const members = () => faults.members
  const judge: Judge = new Judge({ members })
  const clients = new Clients(world, read => judge.read(read))
  judge.watch(clients.writes)
  const cluster = {
    world,
    network,
    keepMs,
    onCollected: (entry: Entry) => judge.collected(entry, world.now),
    onLost: judge.lost.bind(judge)
  }
  const count = chance.of([1, 2, 3, 3, 3, 3, 4, 5])
  for (let index = 1; index <= count; index++) nodes.push(new SimNode(`m${index}`, cluster))
  const faults = new Faults({ world, network, nodes, writes: clients.writes })
  for (const node of nodes) faults.start(node)

  // Few changes and long absences, so that what was removed is collected meanwhile.
  const slow = chance.happens(0.1)
  const endAt = slow ? chance.between(250_000, 500_000) : chance.between(30_000, 200_000)
  const pauseMs = slow ? 6_000 : chance.of([1_000, 4_000, 12_000])
  const act = () => {
    if (world.now >= endAt) return
    clients.act(chance.of(faults.members))
    world.after(chance.between(1, 2 * pauseMs), act)
  }
  act()
  faults.begin(endAt, slow)
  await world.run(endAt)
  faults.heal()
  let converged = false
  while (!converged && world.now < endAt + quietMs) {
    await world.run(world.now + lookEveryMs)
    converged = isQuiet(faults.members)
  }
  if (converged) {
    for (const node of faults.members) void clients.readAll(node)
    await world.run(world.now + 20_000)
  }
  judge.atRest(converged, write => faults.excuses(write))
  for (const node of nodes) node.crash()
  return { seed, violations: judge.violations, story: faults.story, replicas: count, messages: network.messages }
}

// Equal tables and trees, and nothing left to do. Tombstones and links that are old enough to be collected may differ.
function isQuiet(members: readonly SimNode[]): boolean {
  const [first, ...others] = members
  if (!first || !members.every(each => each.running && each.replica?.status().ready && each.replica.status().incomplete === 0)) return false
  const [rows, tree] = [lasting(first.disk), first.disk.describe()]
  return others.every(each => isDeepStrictEqual(lasting(each.disk), rows) && isDeepStrictEqual(each.disk.describe(), tree))
}

function lasting(disk: Disk): Record<string, unknown> {
  const rows = [...disk.rows.values()].filter(({ entry }) => entry.kind !== 'link' && entry.value !== undefined)
  return Object.fromEntries(
    rows.map(({ entry, state }) => [keyOf(entry), { entry, state }]).sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1))
  )
}
