import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import type { Blob } from '../blob.ts'
import { FreshBlobs } from '../blob.ts'
import type { Download } from '../download.ts'
import { download } from '../download.ts'
import type { Contender, Transport } from '../scene.ts'
import { inFolder, interleave, nameOver, tlsOf, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import { measure } from '../usage.ts'

/** GET of a blob that is stored and in the page cache. */
export const blob = blobOver('HTTP')

/** The same over TLS. */
export const blobTls = blobOver('TLS')

function blobOver(transport: Transport): Workload {
  return {
    name: nameOver('blob', transport),
    title: `GET of a stored blob over ${transport}`,
    about:
      '1 and 4 clients get a blob of 1 GiB (the one client twice over its connection), 64 clients one of a sixteenth of that. The bytes are in the page cache.',
    tools: ['curl'],
    run: (bench, record) => run(bench, transport, record)
  }
}

async function run(bench: Bench, transport: Transport, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Local'))
  await inFolder(bench, async folder => {
    const blobs = { large: await makeBlob(folder, 'large', bench.large), part: await makeBlob(folder, 'part', bench.large / 16) }
    const plant = async (kind: Contender['kind'], root: string) => {
      await kind.plant(root, { name: platformPath, blobs: Object.values(blobs), manifests: [] })
      return { task: { mode: 'Local' as const, root }, ...tlsOf(bench, transport) }
    }
    await withServers(bench, kinds, plant, contenders =>
      compare(bench, contenders, blobs, (title, server, sample) => record(`${transport}, ${title}`, server, sample))
    )
  })
}

async function compare(
  { rounds, say }: Bench,
  contenders: readonly Contender[],
  blobs: { large: Blob; part: Blob },
  record: Record
): Promise<void> {
  const cases: { title: string; load: Download }[] = [
    { title: '1 client', load: { ...requestOf(blobs.large), clients: 1, repeat: 2 } },
    { title: '4 clients', load: { ...requestOf(blobs.large), clients: 4 } },
    { title: '64 clients', load: { ...requestOf(blobs.part), clients: 64 } }
  ]
  for (const { server } of contenders) await download(server, { ...requestOf(blobs.large), clients: 1 })
  for (const { title, load } of cases) {
    await interleave(rounds, contenders, async ({ server }) => {
      const { result: bytes, seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => download(server, load))
      say(`${server.name}: ${title}: ${Math.round(bytes / MIB / seconds)} MiB/s`)
      record(title, server.name, {
        'MiB/s': bytes / MIB / seconds,
        'CPU s/GiB': cpuSeconds / (bytes / GIB),
        'peak RSS MiB': peakBytes / MIB
      })
    })
  }
}

function requestOf({ digest, size }: Blob): { path: string; size: number } {
  return { path: `/v2/${platformPath}/blobs/${digest}`, size }
}

async function makeBlob(folder: string, name: string, size: number): Promise<Blob> {
  const blobs = await FreshBlobs.make(join(folder, name), size)
  return await blobs.next()
}
