import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import { interleave, withServers } from '../scene.ts'
import { residentOf } from '../usage.ts'

/** What it takes to be there. */
export const start: Workload = {
  name: 'start',
  title: 'Start, and memory at rest',
  about: 'From the start of the process to the first answered request, on an empty store; and what is resident two seconds later.',
  tools: [],
  run
}

const rest = 2000

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Local'))
  await interleave(bench.rounds, kinds, async kind => {
    const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Local' as const, root } })
    await withServers(bench, [kind], prepare, async contenders => {
      await sleep(rest)
      for (const { server } of contenders) {
        bench.say(`${server.name}: ${Math.round(server.startSeconds * 1000)} ms`)
        record('Local', server.name, { 'start ms': server.startSeconds * 1000, 'RSS at rest MiB': residentOf(server.pid) / MIB })
      }
    })
  })
}
