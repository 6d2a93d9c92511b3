import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { blobPath } from '../content.ts'
import { download } from '../download.ts'
import type { EtcdFigures } from '../etcd.ts'
import { Etcd } from '../etcd.ts'
import { pushWhole } from '../push.ts'
import type { Contender } from '../scene.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import { FileUpstream } from '../servers/upstream.ts'
import { stored } from '../stored.ts'
import { measure } from '../usage.ts'

/** What a registry on the same disk does to etcd. */
export const etcd: Workload = {
  name: 'etcd',
  title: 'etcd beside it',
  about:
    'etcd on the same disk, one put of 1 KiB every 10 ms, while 3 GiB are pushed, or fetched into the cache, 1 GiB after another and until it is stored; plain HTTP. fsync and commit are the bounds of the buckets of etcd’s own histograms.',
  tools: ['etcd', 'curl', 'nginx'],
  run
}

const blobs = 3
const quiet = 3000

interface Place {
  bench: Bench
  etcd: Etcd
  fresh: FreshBlobs
  record: Record
}

async function run(bench: Bench, record: Record): Promise<void> {
  await inFolder(bench, async folder => {
    const fresh = await FreshBlobs.make(join(folder, 'blob'), bench.large)
    await settle()
    const etcd = await Etcd.start(folder)
    try {
      for (let round = 0; round < bench.rounds; round++) record('nothing', '(etcd alone)', latencies(await etcd.during(() => sleep(quiet))))
      await pushes({ bench, etcd, fresh, record })
      await fills({ bench, etcd, fresh, record }, folder)
    } finally {
      await etcd.stop()
    }
  })
}

async function pushes({ bench, etcd, fresh, record }: Place): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Local' as const, root } })
  await withServers(bench, kinds, prepare, contenders =>
    interleave(bench.rounds, contenders, async contender => {
      const one = () => push(contender, fresh)
      await ingest({ bench, etcd, fresh, record }, contender, 'push', one)
    })
  )
}

async function fills(place: Place, folder: string): Promise<void> {
  const { bench, fresh } = place
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Proxy'))
  await mkdir(join(folder, 'upstream'))
  const upstream = await FileUpstream.start(join(folder, 'upstream'))
  const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Proxy' as const, root, upstream: upstream.server } })
  try {
    await withServers(bench, kinds, prepare, contenders =>
      interleave(bench.rounds, contenders, async contender => {
        await ingest(place, contender, 'fill', async () => {
          const blob = await fresh.next()
          await download(contender.server, { path: await upstream.offer(blob), size: blob.size, clients: 1 })
          await stored(blobPath(contender.root, blob.digest), blob.size)
          return blob.digest
        })
      })
    )
  } finally {
    await upstream.server.stop()
  }
}

async function push({ server }: Contender, fresh: FreshBlobs): Promise<string> {
  const blob = await fresh.next()
  await pushWhole(server, platformPath, blob)
  return blob.digest
}

async function ingest(
  { bench, etcd, record }: Place,
  { server, root }: Contender,
  title: string,
  one: () => Promise<string>
): Promise<void> {
  await settle()
  const digests: string[] = []
  const figures = await etcd.during(() =>
    measure(server.pid, async () => {
      for (let count = 0; count < blobs; count++) digests.push(await one())
    })
  )
  const { seconds, cpuSeconds } = figures.result
  for (const digest of digests) await rm(blobPath(root, digest), { force: true })
  const speed = (blobs * bench.large) / MIB / seconds
  bench.say(`${server.name}: ${title}: ${Math.round(speed)} MiB/s, put p99 ${figures.p99.toFixed(1)} ms, max ${figures.max.toFixed(0)} ms`)
  record(title, server.name, { 'MiB/s': speed, ...latencies(figures), 'CPU s': cpuSeconds })
}

function latencies({ p50, p99, max, fsyncP99, commitP99 }: EtcdFigures): { [measure: string]: number } {
  return { 'put p50 ms': p50, 'put p99 ms': p99, 'put max ms': max, 'fsync p99 ms': fsyncP99, 'commit p99 ms': commitP99 }
}
