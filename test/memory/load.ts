import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Scale } from '../long/scale.ts'
import type { Content, Target } from './transfers.ts'
import { digestOf, pull, push } from './transfers.ts'

/** What came of the transfers. */
export interface Outcome {
  /** Bytes of each pull, and status of each push; a transfer that failed shows its error. */
  pulls: (number | string)[]
  pushes: (number | string)[]
  seconds: number
}

const mib = 1024 * 1024

/** One blob is pulled by many clients while others push blobs of their own. */
export async function runLoad(target: Target, { pulls, pushes }: Pick<Scale, 'pulls' | 'pushes'>): Promise<Outcome> {
  const pulled = makeContent(Buffer.alloc(mib), pulls.bytes)
  const digest = digestOf(pulled)
  const status = await push(target, 'memory/pulled', pulled, digest)
  if (status !== 201) throw new Error(`the blob to pull was not accepted: ${status}`)
  const block = randomBytes(mib)
  const contents = Array.from({ length: pushes.count }, () => makeContent(block, pushes.bytes))
  const prepared = contents.map(content => ({ content, digest: digestOf(content) }))
  const began = performance.now()
  const [pullsDone, pushesDone] = await Promise.all([
    all(Array.from({ length: pulls.count }, () => pull(target, `/v2/memory/pulled/blobs/${digest}`))),
    all(prepared.map((each, index) => push(target, `memory/pushed-${index}`, each.content, each.digest)))
  ])
  return { pulls: pullsDone, pushes: pushesDone, seconds: (performance.now() - began) / 1000 }
}

function makeContent(block: Buffer, size: number): Content {
  return { first: randomBytes(64), block, size }
}

function all(transfers: Promise<number>[]): Promise<(number | string)[]> {
  return Promise.all(transfers.map(transfer => transfer.catch((error: Error) => error.message)))
}

/** The most memory that a process ever had resident, in bytes. */
export function peakOf(pid: number): Promise<number> {
  return memoryOf(pid, 'VmHWM')
}

/** What a process has resident now, in bytes. */
export function residentOf(pid: number): Promise<number> {
  return memoryOf(pid, 'VmRSS')
}

async function memoryOf(pid: number, field: 'VmHWM' | 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]
  if (kib === undefined) throw new Error(`/proc/${pid}/status tells no ${field}`)
  return Number(kib) * 1024
}
