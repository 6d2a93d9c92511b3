import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import { Client, UnexpectedReply } from '../long/client.ts'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import type { Server, ServerOptions } from '../long/server.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { StoredBlobs } from '../long/stored.ts'
import { makeBucket, s3Settings, startS3 } from '../support/s3-server.ts'
import { Actor } from './actor.ts'
import type { Faults } from './verify.ts'
import { noFaults, resumeSessions, verifyContent, verifyLists, verifyReferrers } from './verify.ts'
import { World } from './world.ts'

const actors = 6
const lives = { disk: { least: 20, most: 700 }, bucket: { least: 100, most: 2_000 } }
// What was settled in earlier rounds is looked at again in samples, and all of it at the end.
const sample = 30
const referrersChecked = 20

interface Place {
  /** With which each registry is started. */
  options: ServerOptions
  /** How long it lives, in ms. */
  life: { least: number; most: number }
  world: World
  random: Random
  faults: Faults
  blobs: StoredBlobs
}

async function disturb(server: Server, { life, world, random, faults }: Place): Promise<void> {
  const client = new Client(server.address, actors)
  let killed = false
  const running = Array.from({ length: actors }, async (_, index) => {
    const actor = new Actor(client, world, new Random(random.between(0, 0x7fff_ffff)), { own: `crash/of-${index}`, shared: 'crash/shared' })
    while (!killed) {
      try {
        await actor.step()
      } catch (error) {
        if (error instanceof UnexpectedReply || !killed) faults.unexpected.push((error as Error).message)
        return
      }
    }
  })
  await sleep(random.between(life.least, life.most))
  killed = true
  await server.kill()
  await client.close()
  await Promise.all(running)
}

async function verify(server: Server, { world, random, faults, blobs }: Place): Promise<number> {
  const client = new Client(server.address, 4)
  try {
    const touched = world.takeTouched()
    const all = world.all()
    const others = Array.from({ length: sample }, () => random.pick(all)).filter(each => each !== undefined)
    await verifyContent(client, [...all.filter(([path]) => touched.has(path)), ...others], faults)
    const resumed = await resumeSessions(client, world, faults)
    await verifyLists(client, world, faults)
    world.referrers.splice(0, world.referrers.length - referrersChecked)
    await verifyReferrers(client, world, faults)
    faults.corrupt.push(...(await blobs.findDamaged()))
    return resumed
  } finally {
    await client.close()
  }
}

async function verifyAll(t: Test, { options, world, faults }: Place): Promise<void> {
  const server = await startServer(t, options)
  const client = new Client(server.address, 4)
  await verifyContent(client, world.all(), faults)
  await client.close()
  await server.stop()
}

/** `root` is the folder that holds `docker/registry/v2`, also where a service serves it as a bucket. */
async function crash(t: Test, rounds: number, root: string, { options, life }: Pick<Place, 'options' | 'life'>): Promise<void> {
  const place: Place = { options, life, world: new World(), random: new Random(seed), faults: noFaults(), blobs: new StoredBlobs(root) }
  const { world, faults, blobs } = place
  let resumed = 0
  let server = await startServer(t, options)
  for (let round = 0; round < rounds; round++) {
    await disturb(server, place)
    server = await startServer(t, options)
    resumed += await verify(server, place)
  }
  await server.kill()
  await verifyAll(t, place)
  t.comment(`${world.acknowledged} steps acknowledged, ${world.all().length} paths, ${blobs.count} blobs, ${resumed} sessions resumed`)
  t.comment(`${faults.lost.length} lost, ${faults.corrupt.length} corrupt, ${faults.partial.length} partly visible`)
  t.ok(world.acknowledged > rounds && resumed > 0, 'content was pushed and sessions were left open')
  t.same(faults.lost, [], 'nothing that was acknowledged is lost')
  t.same(faults.corrupt, [], 'everything that is there has the bytes of its digest')
  t.same(faults.partial, [], 'nothing is seen in one place and absent in another')
  t.same(faults.session, [], 'every upload session can be resumed')
  t.same(faults.unexpected, [], 'no request was refused without a reason')
}

test(`crash: ${scale.crashRounds} rounds of pushes that end in kill -9 (${repeat})`, async t => {
  const folder = await temporaryFolder(t)
  await crash(t, scale.crashRounds, join(folder, 'root'), { options: { folder }, life: lives.disk })
})

test(`crash: ${scale.bucket.crashRounds} rounds of pushes into a bucket that end in kill -9 (${repeat})`, async t => {
  const server = await startS3(t)
  if (!server) return
  const folder = await temporaryFolder(t)
  const bucket = makeBucket(server)
  const sections = { storage: { s3: s3Settings(server, bucket, join(folder, 'spool')) } }
  await crash(t, scale.bucket.crashRounds, join(server.root, bucket), { options: { folder, sections }, life: lives.bucket })
})
