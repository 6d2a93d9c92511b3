import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs } from '../blob.ts'
import { download } from '../download.ts'
import type { Contender, Transport } from '../scene.ts'
import { inFolder, interleave, nameOver, tlsOf, withServers } from '../scene.ts'
import { FileUpstream } from '../servers/upstream.ts'
import { measure } from '../usage.ts'

/** Pulls that pass through. */
export const direct = directOver('HTTP')

/** The same with TLS on both sides. */
export const directTls = directOver('TLS')

function directOver(transport: Transport): Workload {
  return {
    name: nameOver('direct', transport),
    title: `Direct over ${transport}`,
    about: `GET of a blob of 1 GiB that passes through and is not stored; the peer is nginx as a reverse proxy, which does not verify digests. The upstream is another nginx; ${transport} is on both sides.`,
    tools: ['nginx', 'curl'],
    run: (bench, record) => run(bench, transport, record)
  }
}

async function run(bench: Bench, transport: Transport, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Direct'))
  const tls = tlsOf(bench, transport)
  await inFolder(bench, async folder => {
    const blob = await (await FreshBlobs.make(join(folder, 'blob'), bench.large)).next()
    await mkdir(join(folder, 'upstream'))
    const upstream = await FileUpstream.start(join(folder, 'upstream'), tls.pki)
    try {
      const load = { path: await upstream.offer(blob), size: blob.size }
      const task = { mode: 'Direct' as const, upstream: upstream.server }
      const prepare = async () => ({ task, ...tls })
      await withServers(bench, kinds, prepare, contenders =>
        compare(bench, contenders, load, (title, server, sample) => record(`${transport}, ${title}`, server, sample))
      )
    } finally {
      await upstream.server.stop()
    }
  })
}

async function compare(
  bench: Bench,
  contenders: readonly Contender[],
  load: { path: string; size: number },
  record: Record
): Promise<void> {
  for (const { server } of contenders) await download(server, { ...load, clients: 1 })
  for (const clients of [1, 4]) {
    const title = clients === 1 ? '1 client' : `${clients} clients`
    await interleave(bench.rounds, contenders, async ({ server }) => {
      const { result: bytes, seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => download(server, { ...load, clients }))
      bench.say(`${server.name}: ${title}: ${Math.round(bytes / MIB / seconds)} MiB/s`)
      record(title, server.name, {
        'MiB/s': bytes / MIB / seconds,
        'CPU s/GiB': cpuSeconds / (bytes / GIB),
        'peak RSS MiB': peakBytes / MIB
      })
    })
  }
}
