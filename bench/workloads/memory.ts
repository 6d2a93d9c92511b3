import { readFile } from 'node:fs/promises'
import { runLoad } from '../../test/memory/load.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import type { Transport } from '../scene.ts'
import { interleave, tlsOf, transports, withServers } from '../scene.ts'
import type { Kind } from '../servers/server.ts'
import { measure } from '../usage.ts'

/** Memory while many clients pull and push. */
export const memory: Workload = {
  name: 'memory',
  title: 'Memory with many clients',
  about: '64 clients pull the same blob while 16 push one each, all at once.',
  tools: [],
  run
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  for (const transport of transports) await interleave(bench.rounds, kinds, kind => load(bench, kind, transport, record))
}

async function load(bench: Bench, kind: Kind, transport: Transport, record: Record): Promise<void> {
  const pulls = { count: 64, bytes: bench.large / 16 }
  const pushes = { count: 16, bytes: bench.large / 16 }
  const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Local' as const, root }, ...tlsOf(bench, transport) })
  await withServers(bench, [kind], prepare, async contenders => {
    for (const { server } of contenders) {
      const target = { address: server.address, ...(server.ca === undefined ? {} : { ca: await readFile(server.ca) }) }
      const { result, peakBytes } = await measure(server.pid, () => runLoad(target, { pulls, pushes }))
      const failed = [...result.pulls.filter(each => each !== pulls.bytes), ...result.pushes.filter(each => each !== 201)]
      if (failed.length > 0) throw new Error(`${server.name}: ${failed.length} transfers failed, one with ${failed[0]}`)
      bench.say(`${server.name}: ${transport}: ${Math.round(peakBytes / MIB)} MiB`)
      record(transport, server.name, { 'peak RSS MiB': peakBytes / MIB, 'wall s': result.seconds })
    }
  })
}
