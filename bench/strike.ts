import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pki } from '../test/e2e/pki.ts'
import type { Blob } from './blob.ts'
import { type Content, makeManifest } from './content.ts'
import { type Node, startNode } from './node.ts'
import { withCluster } from './replicas.ts'
import { type Balancer, balancers } from './servers/balancers.ts'
import type { Server } from './servers/server.ts'
import { cpuOf } from './usage.ts'

/** What happens to the replica that a layer comes from, in the middle of it. */
export const blows = ['nothing', 'killed', 'frozen', 'cut off'] as const
export type Blow = (typeof blows)[number]

/** One pull during which that happens. */
export interface Struck {
  folder: string
  balancer: string
  blow: Blow
  /** Repository of an image, and its blobs: the last is the large one. */
  name: string
  blobs: readonly Blob[]
  pki: Pki
}

/** What the node saw of it. */
export interface Seen {
  /** The longest time without a byte of the large blob. */
  stallSeconds: number
  wallSeconds: number
  failed: boolean
}

// Longer than any stall that is of interest: the pull of a frozen replica ends after minutes, or never.
const stallLimit = 30_000
const strikeAfter = 0.4

/** Has one pull struck, in a process with a network of its own, so that its packets can be dropped. */
export async function strike(struck: Struck): Promise<Seen> {
  const child = spawn('unshare', ['--net', '--kill-child', process.execPath, ...process.execArgv, import.meta.filename], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const end = () => child.kill('SIGKILL')
  process.once('exit', end)
  child.stdin.end(JSON.stringify(struck))
  const chunks: Buffer[] = await child.stdout.toArray()
  if (child.exitCode === null) await once(child, 'exit')
  process.removeListener('exit', end)
  if (child.exitCode !== 0) throw new Error(`a pull while a replica is ${struck.blow} ended with exit code ${child.exitCode}`)
  return JSON.parse(Buffer.concat(chunks).toString())
}

async function inside({ folder, balancer: title, blow, name, blobs, pki }: Struck): Promise<Seen> {
  execFileSync('ip', ['link', 'set', 'lo', 'up'])
  const balancer: Balancer | undefined = balancers(() => {}).find(each => each.name === title)
  if (balancer === undefined) throw new Error(`no balancer is called ${title}`)
  const content: Content = { name, blobs, manifests: [makeManifest(blobs, 'v1')] }
  return await withCluster(folder, { balancer, contents: [content], pki }, async ({ replicas, mirrors }) => {
    const node = await startNode(folder, mirrors)
    const heal: (() => void)[] = []
    try {
      const size = blobs.at(-1)?.size ?? 0
      const before = replicas.map(({ pid }) => cpuOf(pid))
      return await pullWatched(node, { content, size, at: () => heal.push(hit(blow, busiest(replicas, before))) })
    } finally {
      for (const each of heal) each()
      await node.stop()
    }
  })
}

/** The replica that has worked most since then: the layer comes from it. */
function busiest(replicas: readonly Server[], before: readonly number[]): Server {
  const work = replicas.map((server, at) => ({ server, seconds: cpuOf(server.pid) - (before[at] ?? 0) }))
  const [most] = work.sort((a, b) => b.seconds - a.seconds)
  if (most === undefined) throw new Error('there are no replicas')
  return most.server
}

/** Strikes a replica, and gives what ends that. */
function hit(blow: Blow, { pid, address }: Server): () => void {
  const host = address.slice(0, address.indexOf(':'))
  if (blow === 'killed') process.kill(pid, 'SIGKILL')
  if (blow === 'frozen') process.kill(pid, 'SIGSTOP')
  if (blow === 'cut off') for (const side of ['-s', '-d']) execFileSync('iptables', ['-w', '-A', 'INPUT', side, host, '-j', 'DROP'])
  return () => {
    if (blow === 'frozen') process.kill(pid, 'SIGCONT')
  }
}

async function pullWatched(node: Node, { content, size, at }: { content: Content; size: number; at: () => void }): Promise<Seen> {
  const began = performance.now()
  let [last, lastAt, stall, failed, running] = [0, began, 0, false, true]
  const givenUp = new AbortController()
  const pulling = node
    .fetch(content, givenUp.signal)
    .catch(() => {
      failed = true
    })
    .finally(() => {
      running = false
    })
  let done = false
  while (running) {
    const bytes = await largestIngest(node.ingest)
    const now = performance.now()
    if (bytes > last) [last, lastAt] = [bytes, now]
    // What comes after the last byte is the node's own work.
    else if (last > 0 && last < size) stall = Math.max(stall, now - lastAt)
    if (stall > stallLimit) givenUp.abort()
    if (!done && last > size * strikeAfter) {
      done = true
      at()
    }
    await sleep(5)
  }
  await pulling
  failed ||= (await node.absent([content])) > 0
  return { stallSeconds: stall / 1000, wallSeconds: (performance.now() - began) / 1000, failed }
}

async function largestIngest(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => [])
  const sizes = names.map(name =>
    stat(join(folder, name, 'data')).then(
      ({ size }) => size,
      () => 0
    )
  )
  return Math.max(0, ...(await Promise.all(sizes)))
}

if (process.argv[1] === import.meta.filename) {
  const chunks: Buffer[] = await process.stdin.toArray()
  process.stdout.write(JSON.stringify(await inside(JSON.parse(Buffer.concat(chunks).toString()))))
}
