import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs } from '../blob.ts'
import { download } from '../download.ts'
import { inFolder, interleave, tlsOf, transports, withServers } from '../scene.ts'
import { FileUpstream } from '../servers/upstream.ts'
import { measure } from '../usage.ts'

/** Pulls that pass through. */
export const direct: Workload = {
  name: 'direct',
  title: 'Direct',
  about:
    'GET of a blob of 1 GiB that passes through and is not stored; the peer is nginx as a reverse proxy, which does not verify digests. The upstream is another nginx; HTTP or TLS is on both sides.',
  tools: ['nginx', 'curl'],
  run
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Direct'))
  for (const transport of transports) {
    await inFolder(bench, async folder => {
      const tls = tlsOf(bench, transport)
      const blob = await (await FreshBlobs.make(join(folder, 'blob'), bench.large)).next()
      await mkdir(join(folder, 'upstream'))
      const upstream = await FileUpstream.start(join(folder, 'upstream'), tls.pki)
      try {
        const path = await upstream.offer(blob)
        const task = { mode: 'Direct' as const, upstream: upstream.server }
        await withServers(
          bench,
          kinds,
          async () => ({ task, ...tls }),
          async contenders => {
            for (const { server } of contenders) await download(server, { path, size: blob.size, clients: 1 })
            for (const clients of [1, 4]) {
              const title = clients === 1 ? '1 client' : `${clients} clients`
              await interleave(bench.rounds, contenders, async ({ server }) => {
                const load = { path, size: blob.size, clients, repeat: clients === 1 ? 2 : 1 }
                const { result: bytes, seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => download(server, load))
                bench.say(`${server.name}: ${transport}, ${title}: ${Math.round(bytes / MIB / seconds)} MiB/s`)
                record(`${transport}, ${title}`, server.name, {
                  'MiB/s': bytes / MIB / seconds,
                  'CPU s/GiB': cpuSeconds / (bytes / GIB),
                  'peak RSS MiB': peakBytes / MIB
                })
              })
            }
          }
        )
      } finally {
        await upstream.server.stop()
      }
    })
  }
}
