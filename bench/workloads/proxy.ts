import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { blobPath } from '../content.ts'
import { download } from '../download.ts'
import type { Contender, Transport } from '../scene.ts'
import { inFolder, interleave, nameOver, tlsOf, withServers } from '../scene.ts'
import { FileUpstream } from '../servers/upstream.ts'
import { stored } from '../stored.ts'
import { measure } from '../usage.ts'

/** Pulls through a cache. */
export const proxy = proxyOver('HTTP')

/** The same with TLS on both sides. */
export const proxyTls = proxyOver('TLS')

function proxyOver(transport: Transport): Workload {
  return {
    name: nameOver('proxy', transport),
    title: `Proxy over ${transport}`,
    about: `Clients that want the same blob of 1 GiB at once, which the cache has not (cold) or has (warm); nginx is the upstream. ${transport} is on both sides. CPU counts until the blob is stored, downloads are those that the upstream served.`,
    tools: ['nginx', 'curl'],
    run: (bench, record) => run(bench, transport, record)
  }
}

async function run(bench: Bench, transport: Transport, record: Record): Promise<void> {
  await inFolder(bench, async folder => {
    const fresh = await FreshBlobs.make(join(folder, 'blob'), bench.large)
    await mkdir(join(folder, 'upstream'))
    const upstream = await FileUpstream.start(join(folder, 'upstream'), tlsOf(bench, transport).pki)
    try {
      await compare({ bench, upstream, fresh, transport, record })
    } finally {
      await upstream.server.stop()
    }
  })
}

interface Comparison {
  bench: Bench
  upstream: FileUpstream
  fresh: FreshBlobs
  transport: Transport
  record: Record
}

async function compare({ bench, upstream, fresh, transport, record }: Comparison): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Proxy'))
  const prepare = async (_: unknown, root: string) => {
    return { task: { mode: 'Proxy' as const, root, upstream: upstream.server }, ...tlsOf(bench, transport) }
  }
  await withServers(bench, kinds, prepare, async contenders => {
    for (const clients of [1, 4, 8]) {
      await interleave(bench.rounds, contenders, async contender => {
        await fill({
          contender,
          clients,
          upstream,
          fresh,
          say: bench.say,
          record: (...all) => record(`cold, ${transport}, ${all[0]}`, all[1], all[2])
        })
      })
    }
    await hit(bench, { contenders, upstream, fresh, record: (...all) => record(`warm, ${transport}, ${all[0]}`, all[1], all[2]) })
  })
}

interface Fill extends Pick<Comparison, 'upstream' | 'fresh' | 'record'> {
  contender: Contender
  clients: number
  say: Bench['say']
}

async function fill({ contender: { server, root }, clients, upstream, fresh, say, record }: Fill): Promise<void> {
  const blob = await fresh.next()
  const path = await upstream.offer(blob)
  await settle()
  const { result, cpuSeconds, peakBytes } = await measure(server.pid, async () => {
    const began = performance.now()
    await download(server, { path, size: blob.size, clients })
    const wall = (performance.now() - began) / 1000
    await stored(blobPath(root, blob.digest), blob.size)
    return wall
  })
  const downloads = await upstream.downloads(path)
  await rm(blobPath(root, blob.digest))
  say(`${server.name}: ${clients} clients: ${result.toFixed(2)} s, ${downloads} downloads`)
  const title = clients === 1 ? '1 client' : `${clients} clients`
  record(title, server.name, { 'wall s': result, 'CPU s': cpuSeconds, downloads, 'peak RSS MiB': peakBytes / MIB })
}

interface Warm extends Pick<Comparison, 'upstream' | 'fresh' | 'record'> {
  contenders: readonly Contender[]
}

async function hit(bench: Bench, { contenders, upstream, fresh, record }: Warm): Promise<void> {
  const blob = await fresh.next()
  const path = await upstream.offer(blob)
  const load = { path, size: blob.size, clients: 4, repeat: 2 }
  for (const { server, root } of contenders) {
    await download(server, { path, size: blob.size, clients: 1 })
    await stored(blobPath(root, blob.digest), blob.size)
  }
  await settle()
  await interleave(bench.rounds, contenders, async ({ server }) => {
    const { result: bytes, seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => download(server, load))
    bench.say(`${server.name}: warm: ${Math.round(bytes / MIB / seconds)} MiB/s`)
    record('4 clients', server.name, {
      'MiB/s': bytes / MIB / seconds,
      'CPU s/GiB': cpuSeconds / (bytes / GIB),
      'peak RSS MiB': peakBytes / MIB
    })
  })
}
