import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs } from '../blob.ts'
import { getPiece } from '../ranged.ts'
import type { Contender } from '../scene.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import { measure } from '../usage.ts'

/** One blob by several ranges at once. */
export const ranges: Workload = {
  name: 'ranges',
  title: 'One blob by 8 ranges',
  about:
    'A client gets a blob of 1 GiB by 8 open-ended ranges at once, each on its own connection that is closed when its eighth is there, as containerd 2.1 and newer do; plain HTTP.',
  tools: [],
  run
}

const count = 8

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Local'))
  await inFolder(bench, async folder => {
    const blob = await (await FreshBlobs.make(join(folder, 'blob'), bench.large)).next()
    const plant = async (kind: Contender['kind'], root: string) => {
      await kind.plant(root, { name: platformPath, blobs: [blob], manifests: [] })
      return { task: { mode: 'Local' as const, root } }
    }
    const length = blob.size / count
    const path = `/v2/${platformPath}/blobs/${blob.digest}`
    const pieces = Array.from({ length: count }, (_, at) => ({ path, from: at * length, length }))
    await withServers(bench, kinds, plant, async contenders => {
      const get = ({ server }: Contender) => Promise.all(pieces.map(piece => getPiece(server, piece)))
      for (const contender of contenders) await get(contender)
      await interleave(bench.rounds, contenders, async contender => {
        const { server } = contender
        const { seconds, cpuSeconds, peakBytes } = await measure(server.pid, () => get(contender))
        bench.say(`${server.name}: ${Math.round(blob.size / MIB / seconds)} MiB/s`)
        record('HTTP', server.name, {
          'MiB/s': blob.size / MIB / seconds,
          'CPU s/GiB': cpuSeconds / (blob.size / GIB),
          'peak RSS MiB': peakBytes / MIB
        })
      })
    })
  })
}
