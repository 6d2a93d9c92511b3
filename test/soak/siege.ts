import { setTimeout as sleep } from 'node:timers/promises'
import { attack } from '../abuse/attackers.ts'
import { type ShapeName, shapes } from '../abuse/shapes.ts'
import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob } from '../long/push.ts'
import type { Random } from '../long/random.ts'
import { type Besieged, honest } from './siege-place.ts'
import type { Tally } from './tally.ts'

// Few enough that the machine has something left: what is looked for is what stays behind.
const counts: Record<ShapeName, number> = {
  wrongPasswords: 4,
  silentUpstream: 2,
  idle: 200,
  unreadManifests: 20,
  unreadLists: 20,
  unreadBlob: 20,
  sip: 20,
  leave: 10,
  unfinishedManifest: 20,
  trickledBody: 10,
  neighbour: 2
}
const names = Object.keys(shapes) as ShapeName[]
const atOnce = 2
/** At once, each over one connection. */
export const honestClients = 3
const pauseMs = 300

/** Attackers of two shapes at a time: of each shape once, in a random order. */
export async function besiegeOnce(place: Besieged, random: Random, tally: Tally): Promise<void> {
  const left = [...names].sort(() => random.next() - 0.5)
  await inTurns(place, random, tally, () => left.pop())
}

/** Attackers of two shapes at a time, each time random ones, for so many ms. */
export async function besiege(place: Besieged, random: Random, tally: Tally, ms: number): Promise<void> {
  const end = performance.now() + ms
  await inTurns(place, random, tally, () => (performance.now() < end ? random.pick(names) : undefined))
}

async function inTurns({ mode, server, target }: Besieged, random: Random, tally: Tally, next: () => ShapeName | undefined): Promise<void> {
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let shape = next(); shape !== undefined; shape = next()) {
        // The neighbour is behind the address of honest clients, the others are not.
        const from = shape === 'neighbour' ? {} : { from: (at: number) => `127.0.1.${1 + (at % 200)}` }
        const { address } = server
        const crowd = attack({ shape, count: counts[shape], address, target, random: () => random.next(), ...from })
        await sleep(random.between(1000, 3000))
        await crowd.leave()
        tally.add(`${mode} ${shape}`)
      }
    })
  )
}

/** Honest clients, one request after another, until the signal; each answer is checked. */
export async function live(place: Besieged, random: Random, tally: Tally, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Array.from({ length: honestClients }, async (_each, at) => {
      const client = new Client(place.server.address, 1, { authorization: honest })
      for (let turn = at; !signal.aborted; turn++) {
        const step = steps[turn % steps.length] ?? pullManifest
        const before = performance.now()
        await step(place, client, random, at).then(
          () => tally.add(`${place.mode} honest`),
          (error: Error) => tally.fault(`${place.mode}: ${step.name} after ${Math.round(performance.now() - before)} ms: ${error.message}`)
        )
        await sleep(random.between(0, pauseMs), undefined, { signal }).catch(() => {})
      }
      await client.close()
    })
  )
}

type Step = (place: Besieged, client: Client, random: Random, at: number) => Promise<void>

const steps: readonly Step[] = [pullManifest, pullBlob, push]

async function pullManifest({ manifestPath, manifest }: Besieged, client: Client): Promise<void> {
  const { body } = expect(200, 'a manifest', await client.ask('GET', manifestPath))
  if (!body.equals(manifest)) throw new Error('the manifest has other bytes')
}

async function pullBlob({ blobs }: Besieged, client: Client, random: Random): Promise<void> {
  const [digest, path] = random.pick([...blobs]) ?? []
  const { body } = expect(200, 'a blob', await client.ask('GET', path ?? ''))
  if (digestOf(body) !== digest) throw new Error('the blob has other bytes')
}

async function push(place: Besieged, client: Client, random: Random, at: number): Promise<void> {
  if (place.mode !== 'Local') return pullManifest(place, client)
  const name = `system/deckhouse/pushed-${at}`
  const bytes = random.bytes(random.between(1, 4096))
  await pushBlob(client, { name, bytes, way: 'monolithic', random })
  const digest = digestOf(bytes)
  const body = makeManifest({ digest, size: bytes.length }, [])
  const path = `/v2/${name}/manifests/${digestOf(body)}`
  expect(201, 'a manifest', await client.ask('PUT', path, { headers: manifestType, body }))
  expect(202, 'a deletion', await client.ask('DELETE', path))
  expect(202, 'a deletion', await client.ask('DELETE', `/v2/${name}/blobs/${digest}`))
}
