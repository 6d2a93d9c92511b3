import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pull } from '../../test/memory/transfers.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import type { Blob } from '../blob.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { pushWhole } from '../push.ts'
import type { Transport } from '../scene.ts'
import { inFolder, interleave, tlsOf, transports, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Kind, Server } from '../servers/server.ts'
import { measure } from '../usage.ts'

/** Memory while many clients pull and push. */
export const memory: Workload = {
  name: 'memory',
  title: 'Memory with many clients',
  about: '64 clients pull the same blob of 64 MiB while 16 push one of that size each, all at once; each round with a new process.',
  tools: ['curl'],
  run
}

const pulls = 64
const pushes = 16

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  await inFolder(bench, async folder => {
    const makers = await Promise.all(
      Array.from({ length: pushes + 1 }, (_, at) => FreshBlobs.make(join(folder, `${at}`), bench.large / 16))
    )
    for (const transport of transports) {
      await interleave(bench.rounds, kinds, async kind => {
        const [pulled, ...pushed] = await Promise.all(makers.map(maker => maker.next()))
        if (pulled !== undefined) await load(bench, { kind, transport, pulled, pushed, record })
      })
    }
  })
}

interface Round {
  kind: Kind
  transport: Transport
  pulled: Blob
  pushed: readonly Blob[]
  record: Record
}

async function load(bench: Bench, { kind, transport, pulled, pushed, record }: Round): Promise<void> {
  const prepare = async (_: unknown, root: string) => {
    await kind.plant(root, { name: platformPath, blobs: [pulled], manifests: [] })
    return { task: { mode: 'Local' as const, root }, ...tlsOf(bench, transport) }
  }
  await withServers(bench, [kind], prepare, async contenders => {
    for (const { server } of contenders) {
      await settle()
      const { peakBytes, seconds } = await measure(server.pid, async () => {
        await Promise.all([pullAll(server, pulled), ...pushed.map(blob => pushWhole(server, platformPath, blob))])
      })
      bench.say(`${server.name}: ${transport}: ${Math.round(peakBytes / MIB)} MiB`)
      record(transport, server.name, { 'peak RSS MiB': peakBytes / MIB, 'wall s': seconds })
    }
  })
}

async function pullAll({ name, address, ca }: Server, { digest, size }: Blob): Promise<void> {
  const target = { address, ...(ca === undefined ? {} : { ca: await readFile(ca) }) }
  const path = `/v2/${platformPath}/blobs/${digest}`
  const sizes = await Promise.all(Array.from({ length: pulls }, () => pull(target, path)))
  const wrong = sizes.find(each => each !== size)
  if (wrong !== undefined) throw new Error(`${name} sent ${wrong} of ${size} bytes`)
}
