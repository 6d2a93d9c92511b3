import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import { Client, digestOf } from '../long/client.ts'
import { makeManifest, manifestType } from '../long/manifest.ts'
import { expect, pushBlob, startSession } from '../long/push.ts'
import { Random } from '../long/random.ts'
import { repeat, seed } from '../long/scale.ts'
import type { Server } from '../long/server.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { peakOf } from '../memory/load.ts'
import { pull } from '../modes/client.ts'
import { gather, occupy, stopHalfWay } from './crowd.ts'
import { descriptorsBack, descriptorsOf, descriptorsReach } from './watch.ts'

const mib = 1024 * 1024
const mostResident = 224 * mib
const name = 'soak/bad'
const readers = 200
const connections = 2000
const leaving = 50
const rounds = 5
// Far more than the kernel takes in between, so that the registry is left with the rest.
const size = 16 * mib

interface Place {
  server: Server
  client: Client
  path: string
  digest: string
  manifest: Buffer
}

// A reader costs a socket and a file.
interface Meeting {
  /** How many descriptors the registry has for the crowd at least, once all of it is there. */
  descriptors: number
  leave(): Promise<void>
}

/** While the crowd is there, good clients get what they ask for; when it has gone, nothing of it is left. */
async function bear(t: Test, { server, path, digest, manifest }: Place, meet: () => Promise<Meeting>): Promise<void> {
  const before = await descriptorsOf(server.pid)
  const crowd = await meet()
  const during = await descriptorsReach(server.pid, before + crowd.descriptors)
  t.ok(during >= before + crowd.descriptors, `${during} descriptors are open, ${before} before`)
  const pulled = await pull(server.address, path)
  t.same([pulled.status, pulled.complete, pulled.digest], [200, true, digest], 'a good client gets its blob')
  const found = await pull(server.address, `/v2/${name}/manifests/v1`)
  t.same([found.status, found.digest], [200, digestOf(manifest)], 'a good client gets its manifest')
  await crowd.leave()
  t.equal(await descriptorsBack(server.pid, before), before, 'as many descriptors are open as before')
  const peak = await peakOf(server.pid)
  t.ok(peak <= mostResident, `at most ${mostResident / mib} MiB were resident, and it were ${Math.round(peak / mib)} MiB`)
}

async function openPlace(t: Test): Promise<Place> {
  const server = await startServer(t, { folder: await temporaryFolder(t) })
  const client = new Client(server.address, 1)
  t.teardown(() => client.close())
  const random = new Random(seed)
  const bytes = Buffer.concat(Array(size / mib).fill(random.bytes(mib)))
  await pushBlob(client, { name, bytes, way: 'monolithic', random })
  const digest = digestOf(bytes)
  const manifest = makeManifest({ digest, size }, [])
  const put = { headers: manifestType, body: manifest }
  expect(201, 'a manifest', await client.ask('PUT', `/v2/${name}/manifests/v1`, put))
  return { server, client, path: `/v2/${name}/blobs/${digest}`, digest, manifest }
}

test(`bad clients: memory stays within ${mostResident / mib} MiB, others are served, descriptors come back (${repeat})`, async t => {
  const place = await openPlace(t)
  const { server, path, client } = place

  await t.test(`${readers} clients that never read`, async t => {
    await bear(t, place, async () => ({ descriptors: 2 * readers, ...(await gather(server, readers, 'never', path)) }))
  })

  await t.test(`${readers} clients that read one byte a second`, async t => {
    await bear(t, place, async () => {
      const crowd = await gather(server, readers, 'sip', path)
      await sleep(3000)
      return { descriptors: 2 * readers, ...crowd }
    })
  })

  await t.test(`${connections} open connections`, async t => {
    await bear(t, place, async () => ({ descriptors: connections, ...(await occupy(server, connections)) }))
  })

  await t.test(`${leaving} pulls and as many pushes that are left half-way, ${rounds} times`, async t => {
    const random = new Random(seed)
    const pulls = { paths: Array<string>(leaving).fill(path), bytes: size / 2 }
    for (let round = 0; round < rounds; round++) {
      const sessions: string[] = []
      while (sessions.length < leaving)
        sessions.push((await startSession(client, { name, bytes: Buffer.alloc(0), way: 'streamed', random })).path)
      const pushes = { paths: sessions, bytes: 2 * mib }
      await bear(t, place, async () => ({ descriptors: 2 * leaving, ...(await stopHalfWay(server, pulls, pushes)) }))
      for (const session of sessions) expect(204, 'a cancellation', await client.ask('DELETE', session))
    }
  })

  t.equal(await server.stop(), 0, 'the registry ends as it should')
})
