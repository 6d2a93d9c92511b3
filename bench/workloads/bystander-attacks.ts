import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hashSync } from '@node-rs/bcrypt'
import type { Attack } from '../../test/abuse/attackers.ts'
import type { ShapeName, Target } from '../../test/abuse/shapes.ts'
import type { Bench, Record, Workload } from '../bench.ts'
import { MIB } from '../bench.ts'
import { type Blob, FreshBlobs } from '../blob.ts'
import { type Manifest, makeManifest, manifestType } from '../content.ts'
import { download } from '../download.ts'
import { inFolder, interleave, withServers } from '../scene.ts'
import { platformPath } from '../servers/ours.ts'
import type { Server } from '../servers/server.ts'
import { measure, residentOf } from '../usage.ts'
import { runWrk } from '../wrk.ts'

/** Honest clients beside attackers. */
export const bystanderAttacks: Workload = {
  name: 'bystander-attacks',
  title: 'Attacks',
  about:
    'wrk gets manifests over 4 connections and then 4 clients a blob of 1 GiB, over TLS, alone and beside attackers of several shapes. Kept is the speed as a part of that alone; left is what stays resident and open when the attackers have gone.',
  tools: ['curl', 'wrk'],
  run
}

interface Case {
  title: string
  shape: ShapeName
  count: number
}

const attacks: readonly Case[] = [
  { title: 'pipelined wrong passwords', shape: 'wrongPasswords', count: 10 },
  { title: 'wrong passwords of a neighbour', shape: 'neighbour', count: 10 },
  { title: 'idle connections up to the limit', shape: 'idle', count: 4096 },
  { title: 'manifests that are never read', shape: 'unreadManifests', count: 50 },
  { title: 'lists that are never read', shape: 'unreadLists', count: 50 },
  { title: 'unfinished manifests', shape: 'unfinishedManifest', count: 60 },
  { title: 'bodies that trickle', shape: 'trickledBody', count: 50 }
]

const seconds = 4
const settleMs = 3000

interface Scene {
  folder: string
  blob: Blob
  manifest: Manifest
}

async function run(bench: Bench, record: Record): Promise<void> {
  const kinds = bench.present.kinds.filter(({ name }) => name === 'ours' || name === 'before')
  await inFolder(bench, async folder => {
    const blob = await (await FreshBlobs.make(join(folder, 'blob'), bench.large)).next()
    const manifest = makeManifest([blob], 'v1')
    await interleave(bench.rounds, kinds, async kind => {
      const plant = async (_kind: unknown, root: string) => {
        await kind.plant(root, { name: platformPath, blobs: [blob], manifests: [manifest] })
        return { task: { mode: 'Local' as const, root }, pki: bench.pki, users: `puller:${hashSync('right', 10)}\n` }
      }
      await withServers(bench, [kind], plant, async contenders => {
        for (const { server } of contenders) await compare(bench, server, { folder, blob, manifest }, record)
      })
    })
  })
}

async function compare({ say }: Bench, server: Server, scene: Scene, record: Record): Promise<void> {
  const alone = await honest(server, scene)
  record('alone', server.name, { 'p99 ms': alone.p99, 'MiB/s': alone.speed, 'peak RSS MiB': alone.peak })
  const before = { open: openFiles(server), resident: residentOf(server.pid) }
  for (const { title, shape, count } of attacks) {
    const { speed, p99, peak } = await beside(server, { shape, count, again: shape !== 'idle', target: targetOf(scene) }, () =>
      honest(server, scene)
    )
    await sleep(settleMs)
    const left = { 'left RSS MiB': (residentOf(server.pid) - before.resident) / MIB, 'left fds': openFiles(server) - before.open }
    say(
      `${server.name}: ${title}: ${Math.round(speed)} of ${Math.round(alone.speed)} MiB/s, p99 ${p99.toFixed(1)} ms, ${Math.round(peak)} MiB`
    )
    record(title, server.name, { 'p99 ms': p99, 'MiB/s': speed, kept: speed / alone.speed, 'peak RSS MiB': peak, ...left })
  }
}

/** The speed of blobs, the p99 of manifests at the same time in ms, and the peak in MiB. */
async function honest(server: Server, { folder, blob, manifest }: Scene): Promise<{ speed: number; p99: number; peak: number }> {
  const size = manifest.bytes.length
  const load = { folder, accept: manifestType, connections: 4, seconds, size, path: targetOf({ blob }).manifest }
  const all = async () => {
    const { p99 } = await runWrk(server, load)
    const began = performance.now()
    const bytes = await download(server, { path: targetOf({ blob }).blob, size: blob.size, clients: 4 })
    return { p99, speed: bytes / MIB / ((performance.now() - began) / 1000) }
  }
  const { result, peakBytes } = await measure(server.pid, all)
  return { ...result, peak: peakBytes / MIB }
}

function targetOf({ blob }: Pick<Scene, 'blob'>): Target {
  const path = `/v2/${platformPath}`
  const manifest = `${path}/manifests/v1`
  return {
    manifest,
    list: `${path}/tags/list`,
    blob: `${path}/blobs/${blob.digest}`,
    silent: manifest,
    pushed: platformPath,
    authorization: undefined
  }
}

function openFiles({ pid }: Server): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

async function beside<T>({ address }: Server, given: Omit<Attack, 'address' | 'random'>, work: () => Promise<T>): Promise<T> {
  const args = [join(import.meta.dirname, '../attackers.ts'), JSON.stringify({ ...given, address, tls: true })]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  try {
    await Promise.race([once(child.stdout, 'data'), ended.then(() => Promise.reject(new Error('the attackers went home')))])
    return await work()
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}
