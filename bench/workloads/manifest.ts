import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import type { Blob } from '../blob.ts'
import { digestOf, makeManifest, manifestType } from '../content.ts'
import { runHeads } from '../head.ts'
import type { Contender } from '../scene.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Server } from '../servers/server.ts'
import { measure } from '../usage.ts'
import type { Load, Rate } from '../wrk.ts'
import { runWrk } from '../wrk.ts'

/** What a pull asks for before it downloads. */
export const manifest: Workload = {
  name: 'manifest',
  title: 'GET of a manifest, HEAD of a blob',
  about:
    'wrk (for HEAD, which it does not understand, a client of the benchmark) over 16 connections, plain HTTP; every server writes a line for each request into a file.',
  tools: ['wrk'],
  run
}

interface Case extends Load {
  title: string
  send: (server: Server, load: Load) => Promise<Rate>
}

const connections = 16
const seconds = 4
const layers = 8

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ modes }) => modes.includes('Local'))
  await inFolder(bench, async folder => {
    const blobs: Blob[] = []
    for (let at = 0; at <= layers; at++) blobs.push(await makeSmall(join(folder, `blob-${at}`)))
    const made = makeManifest(blobs, 'v1')
    const plant = async (kind: Contender['kind'], root: string) => {
      await kind.plant(root, { name: platformPath, blobs, manifests: [made] })
      return { task: { mode: 'Local' as const, root } }
    }
    const common = { folder, accept: manifestType, connections, seconds }
    const path = `/v2/${platformPath}`
    const get = { ...common, send: runWrk, size: made.bytes.length }
    const cases: Case[] = [
      { title: 'manifest by tag', ...get, path: `${path}/manifests/${made.tag}` },
      { title: 'manifest by digest', ...get, path: `${path}/manifests/${made.digest}` },
      { title: 'HEAD of a blob', ...common, send: runHeads, size: 0, path: `${path}/blobs/${blobs[1]?.digest}` }
    ]
    await withServers(bench, kinds, plant, contenders => compare(bench, contenders, cases, record))
  })
}

async function compare({ rounds, say }: Bench, contenders: readonly Contender[], cases: readonly Case[], record: Record): Promise<void> {
  for (const { title, send, ...load } of cases) {
    for (const { server } of contenders) await send(server, { ...load, seconds: 1 })
    await interleave(rounds, contenders, async ({ server }) => {
      const { result, cpuSeconds, peakBytes } = await measure(server.pid, () => send(server, load))
      say(`${server.name}: ${title}: ${Math.round(result.requestsPerSecond)} requests/s`)
      record(title, server.name, {
        'requests/s': result.requestsPerSecond,
        'p50 ms': result.p50,
        'p99 ms': result.p99,
        'CPU µs/request': (cpuSeconds * 1e6) / (result.requestsPerSecond * load.seconds),
        'peak RSS MiB': peakBytes / MIB
      })
    })
  }
}

async function makeSmall(file: string): Promise<Blob> {
  const bytes = randomBytes(4096)
  await writeFile(file, bytes)
  return { file, digest: digestOf(bytes), size: bytes.length }
}
