import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must } from '../../test/e2e/command.ts'
import { containerd1, host } from '../../test/e2e/containerd.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import type { Blob } from '../blob.ts'
import { FreshBlobs, settle } from '../blob.ts'
import type { Content } from '../content.ts'
import { digestOf, makeManifest } from '../content.ts'
import type { Process } from '../process.ts'
import { startProcess } from '../process.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
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

const images = 10
// 184 MiB at full size, as parts of the large blob.
const layers = [100, 50, 25, 8, 1].map(mib => mib / 1024)

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  await inFolder(bench, async folder => {
    const contents: Content[] = []
    for (let at = 0; at < images; at++) contents.push(await makeImage(bench, folder, at))
    const bytes = contents.flatMap(({ blobs }) => blobs).reduce((sum, { size }) => sum + size, 0)
    const prepare = async (kind: (typeof kinds)[number], root: string) => {
      for (const content of contents) await kind.plant(root, content)
      return { task: { mode: 'Local' as const, root }, pki: bench.pki }
    }
    await withServers(bench, kinds, prepare, contenders =>
      interleave(bench.rounds, contenders, async ({ server }) => {
        const { seconds, cpuSeconds, peakBytes } = await inFolder(bench, place => pullAll(place, server, contents))
        bench.say(`${server.name}: ${seconds.toFixed(2)} s`)
        record(`${images} images`, server.name, {
          'wall s': seconds,
          'CPU s': cpuSeconds,
          'MiB/s': bytes / MIB / seconds,
          'peak RSS MiB': peakBytes / MIB
        })
      })
    )
  })
}

async function pullAll(folder: string, server: Server, contents: readonly Content[]): Promise<ReturnType<typeof measure>> {
  const hosts = join(folder, 'hosts')
  const running = await startContainerd(folder, hosts, server)
  const ctr = (...args: string[]) => must('ctr', ['--address', join(folder, 'containerd.sock'), ...args], { limit: 300_000 })
  try {
    await settle()
    const usage = await measure(server.pid, async () => {
      for (const { name } of contents) await ctr('content', 'fetch', '--all-platforms', '--hosts-dir', hosts, `${host}/${name}:v1`)
    })
    const stored = (await ctr('content', 'ls', '--quiet')).trim().split('\n')
    const absent = contents.flatMap(({ blobs }) => blobs).filter(({ digest }) => !stored.includes(digest))
    if (absent.length > 0) throw new Error(`${absent.length} blobs from ${server.name} did not arrive`)
    return usage
  } finally {
    await running.stop()
  }
}

async function startContainerd(folder: string, hosts: string, { address, ca }: Server): Promise<Process> {
  await mkdir(join(hosts, host), { recursive: true })
  const url = `https://${address}`
  await writeFile(
    join(hosts, host, 'hosts.toml'),
    `server = "${url}"\n[host."${url}"]\n  capabilities = ["pull", "resolve"]\n  ca = "${ca}"\n`
  )
  const file = join(folder, 'config.toml')
  await writeFile(file, containerd1.config({ folder, hosts }))
  return await startProcess({
    command: 'containerd',
    args: ['--config', file],
    log: join(folder, 'containerd.log'),
    probe: async () => void (await must('ctr', ['--address', join(folder, 'containerd.sock'), 'version'], { limit: 5000 }))
  })
}

async function makeImage({ large }: Bench, folder: string, at: number): Promise<Content> {
  const blobs: Blob[] = [await makeConfig(join(folder, `config-${at}`), at)]
  for (const [index, part] of layers.entries()) {
    const fresh = await FreshBlobs.make(join(folder, `layer-${at}-${index}`), Math.round(part * large))
    blobs.push(await fresh.next())
  }
  return { name: `${platformPath}/image-${at}`, blobs, manifests: [makeManifest(blobs, 'v1')] }
}

async function makeConfig(file: string, at: number): Promise<Blob> {
  const config = { os: 'linux', architecture: 'amd64', config: { Labels: { at: `${at}` } }, rootfs: { type: 'layers', diff_ids: [] } }
  const bytes = Buffer.from(JSON.stringify(config))
  await writeFile(file, bytes)
  return { file, digest: digestOf(bytes), size: bytes.length }
}
