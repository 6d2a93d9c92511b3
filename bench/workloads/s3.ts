import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from '../../test/long/client.ts'
import { expect } from '../../test/long/push.ts'
import { proxyS3 } from '../../test/support/s3-proxy.ts'
import { makeBucket, type S3Server, startS3 } from '../../test/support/s3-server.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { digestOf, makeManifest, manifestType } from '../content.ts'
import { download } from '../download.ts'
import { pushSmall, pushWhole } from '../push.ts'
import { inFolder, interleave } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Kind, Server } from '../servers/server.ts'
import { measure } from '../usage.ts'

/** Over a bucket of a local service, beside the S3 driver of CNCF Distribution. */
export const s3: Workload = {
  name: 's3',
  title: 'A bucket',
  about:
    'Over a bucket of a local versitygw, without redirects: a blob of a quarter of 1 GiB is pushed whole and got by one client and by 4 at once, who share what ours asks the service for; an image of 5 layers is pushed and pulled once, with what the service is asked for meanwhile counted by a proxy in between. The client of the image asks as containerd does: by tag, then each blob once. Plain HTTP.',
  tools: ['curl'],
  run
}

const layers = 5
const path = (kind: string, reference: string) => `/v2/${platformPath}/${kind}/${reference}`

interface Contender {
  kind: Kind
  server: Server
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ name }) => name === 'ours' || name === 'distribution3')
  const endings: (() => unknown)[] = []
  const until = { teardown: (end: () => unknown) => void endings.unshift(end), pass: (text: string) => bench.say(text) }
  try {
    const service = await startS3(until, { real: 'the benchmark' })
    if (!service) return bench.say('s3: left out, versitygw is absent: test/tools/build versitygw')
    await inFolder(bench, async folder => {
      const through = async (kind: Kind, endpoint: S3Server, name: string): Promise<Contender> => {
        const place = join(folder, `${kind.name}-${name}`)
        await mkdir(place)
        const bucket = { endpoint: endpoint.endpoint, bucket: makeBucket(service), credentials: service.credentials }
        const server = await kind.start({ folder: place, task: { mode: 'Local', root: place }, bucket })
        endings.unshift(() => server.stop())
        return { kind, server }
      }
      await bytes(bench, folder, await Promise.all(kinds.map(kind => through(kind, service, 'bytes'))), record)
      for (const kind of kinds) {
        const proxy = await proxyS3(until, service)
        const { server } = await through(kind, proxy, 'requests')
        // The first of all pays for what is looked up once.
        await image(server, 'warm-up')
        for (let round = 0; round < bench.rounds; round++) {
          const before = proxy.requests.length
          const pull = await image(server, `v${round}`)
          const pushed = proxy.requests.length
          await pull()
          record('image of 5 layers', server.name, {
            'requests/push': pushed - before,
            'requests/pull': proxy.requests.length - pushed
          })
        }
      }
    })
  } finally {
    for (const end of endings) await end()
  }
}

async function bytes({ rounds, large, say }: Bench, folder: string, contenders: readonly Contender[], record: Record): Promise<void> {
  const size = large / 4
  const fresh = await FreshBlobs.make(join(folder, 'blob'), size)
  await interleave(rounds, contenders, async ({ server }) => {
    const blob = await fresh.next()
    await settle()
    const push = await measure(server.pid, () => pushWhole(server, platformPath, blob))
    say(`${server.name}: push: ${Math.round(size / MIB / push.seconds)} MiB/s`)
    record('push', server.name, { 'MiB/s': size / MIB / push.seconds, 'CPU s/GiB': push.cpuSeconds / (size / GIB) })
    for (const clients of [1, 4]) {
      const get = await measure(server.pid, () => download(server, { path: path('blobs', blob.digest), size, clients }))
      const all = clients * size
      say(`${server.name}: GET, ${clients}: ${Math.round(all / MIB / get.seconds)} MiB/s`)
      const title = clients === 1 ? 'GET, 1 client' : `GET, ${clients} clients`
      record(title, server.name, { 'MiB/s': all / MIB / get.seconds, 'CPU s/GiB': get.cpuSeconds / (all / GIB) })
    }
  })
}

/** Pushes an image and gives what pulls it. */
async function image(server: Server, tag: string): Promise<() => Promise<void>> {
  const blobs = Array.from({ length: layers + 1 }, () => randomBytes(MIB)).map(each => ({ bytes: each, digest: digestOf(each) }))
  await pushSmall(server, platformPath, blobs, 3)
  const manifest = makeManifest(
    blobs.map(({ digest }) => ({ digest, size: MIB, file: '' })),
    tag
  )
  await asking(server, async client => {
    const headers = { 'content-type': manifestType }
    expect(201, 'a PUT', await client.ask('PUT', path('manifests', tag), { headers, body: manifest.bytes }))
  })
  return () =>
    asking(server, async client => {
      const headers = { accept: manifestType }
      expect(200, 'a HEAD', await client.ask('HEAD', path('manifests', tag), { headers }))
      expect(200, 'a GET', await client.ask('GET', path('manifests', manifest.digest), { headers }))
      for (const { digest } of blobs) expect(200, 'a GET', await client.ask('GET', path('blobs', digest)))
    })
}

async function asking(server: Server, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client(server.address, 1)
  try {
    await work(client)
  } finally {
    await client.close()
  }
}
