import { test } from 'tap'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { pull } from '../modes/client.ts'
import { ask } from '../src/support.ts'
import { type Agent, startAgent } from './agent.ts'
import { type Image, pathOf } from './content.ts'
import { cutOff, noCutting, reconnect } from './network.ts'
import type { Replica } from './replicas.ts'
import { MIB, startSecureCluster } from './scene.ts'

/** What befalls a replica, and how it ends. */
interface Blow {
  name: string
  strike(replica: Replica): Promise<void> | void
  heal(replica: Replica): Promise<void> | void
}

const blows: readonly Blow[] = [
  { name: 'killed', strike: replica => replica.kill(), heal: replica => replica.start() },
  { name: 'frozen', strike: replica => replica.freeze(), heal: replica => replica.thaw() },
  ...(noCutting === undefined
    ? [{ name: 'cut off', strike: (replica: Replica) => cutOff(replica.host), heal: (replica: Replica) => reconnect(replica.host) }]
    : [])
]

const size = 96 * MIB
/** So slow that what befalls a replica befalls it in the middle of a body. */
const limits = { limits: { egress: '96MiB' } }

/** Something that happens once so many bytes of the large layer are there. */
interface Event {
  at: number
  happen: () => Promise<void> | void
}

/** Pulls all of an image once; what is not as it should be, and the longest pause within the large layer in ms. */
async function pullImage({ address }: Agent, { manifest, blobs, large }: Image, events: readonly Event[]) {
  const failures: string[] = []
  const started: Promise<void>[] = []
  const left = [...events]
  const onBytes = (bytes: number) => {
    while (left[0] !== undefined && left[0].at <= bytes) started.push(Promise.resolve(left.shift()?.happen()))
  }
  let pause = 0
  for (const tag of ['v1', manifest.digest]) {
    const { status, body } = await ask(address, 'GET', pathOf('manifests', tag))
    if (status !== 200) failures.push(`manifest ${tag}: ${status} ${body}`)
  }
  for (const digest of blobs) {
    const pulled = await pull(address, pathOf('blobs', digest), digest === large.digest ? { onBytes } : {})
    if (digest === large.digest) pause = pulled.pause
    if (pulled.digest !== digest || !pulled.complete) failures.push(`${digest}: ${pulled.status}, ${pulled.bytes} bytes`)
  }
  await Promise.all(started)
  return { failures, pause }
}

function summary(pauses: readonly number[]): string {
  const sorted = pauses.toSorted((a, b) => a - b)
  const ms = (value: number | undefined) => `${Math.round(value ?? 0)} ms`
  return `${pauses.length} ×, median ${ms(sorted[Math.floor(sorted.length / 2)])}, most ${ms(sorted.at(-1))}`
}

test(`${scale.agentRounds} rounds in which two of three replicas go down at random moments of a pull: none fails (${repeat})`, async t => {
  if (noCutting !== undefined) t.comment(`no replica is cut off: ${noCutting}`)
  const { image, replicas, pool } = await startSecureCluster(t, size, limits)
  const agent = await startAgent(t, { pools: [pool] })
  const random = new Random(seed)
  const pauses = new Map(blows.map(({ name }) => [name, [] as number[]]))
  for (let round = 0; round < scale.agentRounds; round++) {
    // The node's own replica is the one that is asked first, so it is struck in each round; the other changes.
    const second = replicas[1 + (round % 2)] ?? replicas[1]
    const struck = [replicas[0], second].map(replica => ({ replica, blow: random.pick(blows) ?? blows[0] }))
    const moments = struck.map(() => random.between(1, size)).sort((a, b) => a - b)
    const events = struck.map(({ replica, blow }, index) => ({ at: moments[index] ?? 0, happen: () => blow?.strike(replica) }))
    const said = struck.map(({ replica, blow }, index) => `${replica.host} ${blow?.name} at ${moments[index]}`).join(', ')
    const { failures, pause } = await pullImage(agent, image, events)
    t.same(failures, [], `round ${round}: ${said}`)
    const names = new Set(struck.map(({ blow }) => blow?.name ?? ''))
    for (const name of names) pauses.get(name)?.push(pause)
    for (const { replica, blow } of struck) await blow?.heal(replica)
  }
  for (const [name, all] of pauses) t.comment(`longest pause of rounds with a replica ${name}: ${summary(all)}`)
  t.comment(`the routes at the end: ${JSON.stringify((await agent.status())['routes'])}`)
})

for (const blow of blows) {
  test(`one replica ${blow.name} in the middle of a large layer: it goes on in the same response`, async t => {
    const { image, replicas, pool } = await startSecureCluster(t, size, limits)
    const agent = await startAgent(t, { pools: [pool] })
    const { failures, pause } = await pullImage(agent, image, [{ at: size / 2, happen: () => blow.strike(replicas[0]) }])
    t.same(failures, [])
    t.comment(`pause of ${Math.round(pause)} ms`)
    const after = await pullImage(agent, image, [])
    t.same(after.failures, [])
    t.comment(`the next pull: pause of ${Math.round(after.pause)} ms`)
    await blow.heal(replicas[0])
  })
}
