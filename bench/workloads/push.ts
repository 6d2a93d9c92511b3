import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { GIB, MIB } from '../bench.ts'
import { FreshBlobs, settle } from '../blob.ts'
import { blobPath, digestOf } from '../content.ts'
import { pushChunks, pushSmall, pushWhole } from '../push.ts'
import type { Contender } from '../scene.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Usage } from '../usage.ts'
import { measure } from '../usage.ts'

/** Pushes that are durable when they are acknowledged. */
export const push: Workload = {
  name: 'push',
  title: 'Push',
  about:
    'Of a blob of 1 GiB, whole (POST and PUT) and in chunks of 16 MiB (PATCH), and of 1,000 blobs of 10 KiB over 4 connections; plain HTTP. Every push brings bytes that no server has seen, and everything is written back before it begins.',
  tools: ['curl'],
  run
}

const chunk = 16 * MIB
const small = { count: 1000, bytes: 10 * 1024, connections: 4 }

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ writes }) => writes === 'pushes')
  await inFolder(bench, async folder => {
    const fresh = await FreshBlobs.make(join(folder, 'blob'), bench.large)
    const prepare = async (_: unknown, root: string) => ({ task: { mode: 'Local' as const, root } })
    await withServers(bench, kinds, prepare, async contenders => {
      const large = { bench, contenders, fresh, record }
      await pushLarge({ ...large, title: 'whole', send: (server, blob) => pushWhole(server, platformPath, blob) })
      await pushLarge({ ...large, title: 'in chunks', send: (server, blob) => pushChunks(server, platformPath, blob, chunk) })
      await pushMany(bench, contenders, record)
    })
  })
}

interface Large {
  bench: Bench
  contenders: readonly Contender[]
  fresh: FreshBlobs
  title: string
  send: (server: Contender['server'], blob: Awaited<ReturnType<FreshBlobs['next']>>) => Promise<void>
  record: Record
}

async function pushLarge({ bench: { rounds, say }, contenders, fresh, title, send, record }: Large): Promise<void> {
  await interleave(rounds, contenders, async ({ server, root }) => {
    const blob = await fresh.next()
    await settle()
    const usage = await measure(server.pid, () => send(server, blob))
    await rm(blobPath(root, blob.digest))
    say(`${server.name}: ${title}: ${Math.round(blob.size / MIB / usage.seconds)} MiB/s`)
    record(title, server.name, { 'MiB/s': blob.size / MIB / usage.seconds, ...costs(usage, blob.size) })
  })
}

async function pushMany({ rounds, say }: Bench, contenders: readonly Contender[], record: Record): Promise<void> {
  const { count, bytes, connections } = small
  await interleave(rounds, contenders, async ({ server }) => {
    const blobs = Array.from({ length: count }, () => randomBytes(bytes)).map(each => ({ bytes: each, digest: digestOf(each) }))
    await settle()
    const usage = await measure(server.pid, () => pushSmall(server, platformPath, blobs, connections))
    say(`${server.name}: small blobs: ${Math.round(count / usage.seconds)} blobs/s`)
    record('1,000 blobs of 10 KiB', server.name, { 'blobs/s': count / usage.seconds, 'peak RSS MiB': usage.peakBytes / MIB })
  })
}

function costs({ cpuSeconds, peakBytes }: Usage, bytes: number): { 'CPU s/GiB': number; 'peak RSS MiB': number } {
  return { 'CPU s/GiB': cpuSeconds / (bytes / GIB), 'peak RSS MiB': peakBytes / MIB }
}
