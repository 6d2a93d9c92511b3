import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makePki, type Pki } from '../../test/e2e/pki.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { type Content, makeManifest, manifestType } from '../content.ts'
import { download } from '../download.ts'
import { bytesOf, imageCount, makeConfig, makeImages, startNode } from '../node.ts'
import { type Cluster, replicaHosts, withCluster } from '../replicas.ts'
import { inFolder } from '../scene.ts'
import { type Balancer, balancers } from '../servers/balancers.ts'
import { platformPath } from '../servers/ours.ts'
import type { Server } from '../servers/server.ts'
import { blows, strike } from '../strike.ts'
import { cpuOf, measure, privateOf, residentOf } from '../usage.ts'
import { runWrk } from '../wrk.ts'

/** What a node has between its containerd and the replicas. */
export const agent: Workload = {
  name: 'agent',
  title: 'The agent of a node',
  about: `Three replicas in Local mode over TLS, and before them the agent, nginx stream with the settings of Deckhouse's registry-proxy, or containerd's own list of all three (no balancer). Figures of memory and CPU are those of the balancer alone. nginx passes TLS on; the agent ends it and speaks TLS to the replicas. At rest: two seconds after the start, CPU over 20 s. 8 pulls: curl, of one blob of 1 GiB. 10 images: containerd fetches 1.8 GiB, as above. A manifest: wrk over one connection; "added" is what is more than without a balancer. Then containerd pulls a layer of 1 GiB, and when 40 % of it are there, the replica that it comes from is killed, frozen (SIGSTOP) or cut off (its packets are dropped); the stall is the longest time in which the layer did not grow, and after 30 s of it the pull has failed.`,
  tools: ['ctr', 'curl', 'wrk'],
  run
}

const rest = 2000
const idle = 20_000
const pulls = 8
const seconds = 5

/** What one part of the workload has at hand. */
interface Part {
  bench: Bench
  folder: string
  pki: Pki
  record: Record
  images: readonly Content[]
  /** An image with one large layer. */
  large: Content
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = balancers(bench.say)
  await inFolder(bench, async folder => {
    const pki = await makePki(folder, ['127.0.0.1', ...replicaHosts])
    const part = { bench, folder, pki, record, images: await makeImages(bench, folder), large: await makeLarge(bench, folder) }
    for (let round = 0; round < bench.rounds; round++) {
      const base = { p50: 0, p99: 0 }
      for (const balancer of kinds) {
        await inFolder(bench, place =>
          withCluster(place, { balancer, contents: [...part.images, part.large], pki }, async cluster => {
            if (cluster.balancer) await atRest(part, balancer, cluster.balancer)
            await manifests(part, balancer, cluster, base)
            if (cluster.balancer) await manyPulls(part, balancer, cluster.balancer)
            await platform(part, balancer, cluster)
          })
        )
      }
    }
    for (const blow of blows) {
      for (let round = 0; round < bench.rounds; round++) {
        for (const balancer of kinds) await struck(part, balancer, blow)
      }
    }
  })
}

async function makeLarge({ large }: Bench, folder: string): Promise<Content> {
  const blobs = [await makeConfig(join(folder, 'config-large'), -1), await (await FreshBlobs.make(join(folder, 'large'), large)).next()]
  return { name: `${platformPath}/large`, blobs, manifests: [makeManifest(blobs, 'v1')] }
}

async function atRest({ bench, record }: Part, { name }: Balancer, server: Server): Promise<void> {
  await sleep(rest)
  const figures = {
    'RSS MiB': residentOf(server.pid) / MIB,
    'private MiB': privateOf(server.pid) / MIB,
    'start ms': server.startSeconds * 1000
  }
  const before = cpuOf(server.pid)
  await sleep(idle)
  const busy = ((cpuOf(server.pid) - before) / (idle / 1000)) * 100
  bench.say(`${name}: at rest ${Math.round(figures['RSS MiB'])} MiB, ${busy.toFixed(2)} % of a core`)
  record('at rest', name, { ...figures, 'idle CPU %': busy })
}

async function manifests(
  { bench, folder, large, record }: Part,
  { name }: Balancer,
  { mirrors }: Cluster,
  base: { p50: number; p99: number }
) {
  const [server] = mirrors
  const size = large.manifests[0]?.bytes.length ?? 0
  const load = { folder, path: `/v2/${large.name}/manifests/v1`, accept: manifestType, size, connections: 1 }
  if (server === undefined) return
  await runWrk(server, { ...load, seconds: 1 })
  const { p50, p99, requestsPerSecond } = await runWrk(server, { ...load, seconds })
  bench.say(`${name}: a manifest, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`)
  if (base.p50 === 0) Object.assign(base, { p50, p99 })
  const added = { 'added p50 ms': p50 - base.p50, 'added p99 ms': p99 - base.p99 }
  record('a manifest', name, { 'p50 ms': p50, 'p99 ms': p99, ...added, 'requests/s': requestsPerSecond })
}

async function manyPulls({ bench, large, record }: Part, { name }: Balancer, server: Server): Promise<void> {
  const blob = large.blobs.at(-1)
  if (blob === undefined) return
  const load = { path: `/v2/${large.name}/blobs/${blob.digest}`, size: blob.size, clients: pulls }
  let most = 0
  const looking = setInterval(() => {
    most = Math.max(most, privateOf(server.pid))
  }, 200)
  const { result: bytes, seconds: wall, cpuSeconds, peakBytes } = await measure(server.pid, () => download(server, load))
  clearInterval(looking)
  bench.say(`${name}: ${pulls} pulls, ${Math.round(peakBytes / MIB)} MiB, ${Math.round(bytes / MIB / wall)} MiB/s`)
  record(`${pulls} pulls`, name, {
    'peak RSS MiB': peakBytes / MIB,
    'peak private MiB': most / MIB,
    'MiB/s': bytes / MIB / wall,
    'CPU s/GiB': cpuSeconds / (bytes / GIB)
  })
}

async function platform({ bench, images, record }: Part, { name }: Balancer, { mirrors, balancer }: Cluster): Promise<void> {
  await inFolder(bench, async folder => {
    const node = await startNode(folder, mirrors)
    try {
      await settle()
      const work = async () => {
        for (const image of images) await node.fetch(image)
      }
      const began = performance.now()
      const used = balancer ? await measure(balancer.pid, work) : void (await work())
      const wall = used?.seconds ?? (performance.now() - began) / 1000
      const absent = await node.absent(images)
      if (absent > 0) throw new Error(`${absent} blobs did not arrive through ${name}`)
      bench.say(`${name}: ${imageCount} images in ${wall.toFixed(2)} s`)
      const gib = bytesOf(images) / GIB
      const cost = used ? { 'CPU s/GiB': used.cpuSeconds / gib, 'peak RSS MiB': used.peakBytes / MIB } : {}
      record(`${imageCount} images`, name, { 'wall s': wall, 'MiB/s': (gib * 1024) / wall, ...cost })
    } finally {
      await node.stop()
    }
  })
}

async function struck({ bench, large, pki, record }: Part, { name }: Balancer, blow: (typeof blows)[number]): Promise<void> {
  const seen = await inFolder(bench, folder => strike({ folder, balancer: name, blow, name: large.name, blobs: large.blobs, pki }))
  bench.say(`${name}: ${blow}: stall of ${seen.stallSeconds.toFixed(2)} s${seen.failed ? ', failed' : ''}`)
  const title = blow === 'nothing' ? 'a layer, undisturbed' : `a layer, its replica ${blow}`
  record(title, name, { 'stall s': seen.stallSeconds, 'pull s': seen.wallSeconds, 'failed pulls': seen.failed ? 1 : 0 })
}
