import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import { settle } from '../blob.ts'
import type { Content } from '../content.ts'
import { bytesOf, imageCount, makeImages, startNode } from '../node.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import type { Server } from '../servers/server.ts'
import { measure } from '../usage.ts'

/** What a node does when the platform comes to it. */
export const containerd: Workload = {
  name: 'containerd',
  title: 'A node pulls the platform',
  about:
    'containerd fetches 10 images of 1.8 GiB in all, one after another, over TLS, into an empty store of its own; they are not unpacked, because that is the work of the node alone.',
  tools: ['ctr', 'curl'],
  run
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  await inFolder(bench, async folder => {
    const contents = await makeImages(bench, folder)
    const prepare = async (kind: (typeof kinds)[number], root: string) => {
      for (const content of contents) await kind.plant(root, content)
      return { task: { mode: 'Local' as const, root }, pki: bench.pki }
    }
    await withServers(bench, kinds, prepare, contenders =>
      interleave(bench.rounds, contenders, async ({ server }) => {
        const { seconds, cpuSeconds, peakBytes } = await inFolder(bench, place => pullAll(place, server, contents))
        bench.say(`${server.name}: ${seconds.toFixed(2)} s`)
        record(`${imageCount} images`, server.name, {
          'wall s': seconds,
          'CPU s': cpuSeconds,
          'MiB/s': bytesOf(contents) / MIB / seconds,
          'peak RSS MiB': peakBytes / MIB
        })
      })
    )
  })
}

async function pullAll(folder: string, server: Server, contents: readonly Content[]): Promise<ReturnType<typeof measure>> {
  const node = await startNode(folder, [server])
  try {
    await settle()
    const usage = await measure(server.pid, async () => {
      for (const content of contents) await node.fetch(content)
    })
    const absent = await node.absent(contents)
    if (absent > 0) throw new Error(`${absent} blobs from ${server.name} did not arrive`)
    return usage
  } finally {
    await node.stop()
  }
}
