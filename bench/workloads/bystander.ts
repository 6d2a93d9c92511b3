import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import type { Blob } from '../blob.ts'
import { FreshBlobs } from '../blob.ts'
import { download } from '../download.ts'
import type { Contender } from '../scene.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Server } from '../servers/server.ts'
import { measure, residentOf } from '../usage.ts'

/** Good clients beside bad ones. */
export const bystander: Workload = {
  name: 'bystander',
  title: 'Bad clients',
  about:
    '4 clients get a blob of 1 GiB, alone; beside 200 bad clients (a third reads one byte a second, a third never reads, a third leaves in the middle, again and again); and beside 2,000 connections that ask nothing. Kept is the speed as a part of that alone.',
  tools: ['curl'],
  run
}

const crowds = [
  { title: '200 bad clients', bad: 200, idle: 0 },
  { title: '2,000 open connections', bad: 0, idle: 2000 }
]

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Local'))
  await inFolder(bench, async folder => {
    const blob = await (await FreshBlobs.make(join(folder, 'blob'), bench.large)).next()
    const plant = async (kind: Contender['kind'], root: string) => {
      await kind.plant(root, { name: platformPath, blobs: [blob], manifests: [] })
      return { task: { mode: 'Local' as const, root } }
    }
    await interleave(bench.rounds, kinds, async kind => {
      await withServers(bench, [kind], plant, async contenders => {
        for (const { server } of contenders) await compare(bench, server, blob, record)
      })
    })
  })
}

async function compare({ say }: Bench, server: Server, { digest, size }: Blob, record: Record): Promise<void> {
  const path = `/v2/${platformPath}/blobs/${digest}`
  const get = async () => {
    const { result, seconds, peakBytes } = await measure(server.pid, () => download(server, { path, size, clients: 4, repeat: 2 }))
    return { speed: result / MIB / seconds, peakBytes }
  }
  await download(server, { path, size, clients: 1 })
  const alone = await get()
  record('alone', server.name, { 'MiB/s': alone.speed, 'peak RSS MiB': alone.peakBytes / MIB })
  for (const crowd of crowds) {
    const { speed, peakBytes } = await beside(server, path, crowd, get)
    say(
      `${server.name}: ${crowd.title}: ${Math.round(speed)} of ${Math.round(alone.speed)} MiB/s, ${Math.round(residentOf(server.pid) / MIB)} MiB`
    )
    record(crowd.title, server.name, { 'MiB/s': speed, kept: speed / alone.speed, 'peak RSS MiB': peakBytes / MIB })
  }
}

async function beside<T>(
  { address }: Server,
  path: string,
  { bad, idle }: { bad: number; idle: number },
  work: () => Promise<T>
): Promise<T> {
  const [host = '', port = ''] = address.split(':')
  const script = join(import.meta.dirname, '../crowd.ts')
  const child = spawn(process.execPath, [script, host, port, path, `${bad}`, `${idle}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  try {
    await Promise.race([once(child.stdout, 'data'), ended.then(() => Promise.reject(new Error('the crowd went home')))])
    return await work()
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}
