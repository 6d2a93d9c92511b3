import { readdir, readFile, readlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { residentOf } from '../memory/load.ts'

/** What a process holds. */
export interface Held {
  /** In bytes. */
  resident: number
  descriptors: number
}

/** Ports of upstreams. */
export type Apart = number | readonly number[]

/** How many descriptors a process has open; connections to the ports `apart` are left out. */
export async function descriptorsOf(pid: number, apart?: Apart): Promise<number> {
  const left = apart === undefined ? new Set() : await socketsTo(pid, apart)
  const folder = `/proc/${pid}/fd`
  const open = await Promise.all((await readdir(folder)).map(each => readlink(`${folder}/${each}`).catch(() => undefined)))
  return open.filter(each => each !== undefined && !left.has(each)).length
}

/** Sockets of the network that a process is in, as its descriptors show them. */
async function socketsTo(pid: number, ports: Apart): Promise<Set<string>> {
  const rows = (await readFile(`/proc/${pid}/net/tcp`, 'utf8')).split('\n').map(each => each.trim().split(/\s+/))
  const wanted = [ports].flat().map(port => `:${port.toString(16).toUpperCase().padStart(4, '0')}`)
  // The remote address is the third column, the inode the tenth.
  return new Set(rows.filter(row => wanted.some(each => row[2]?.endsWith(each))).map(row => `socket:[${row[9]}]`))
}

const looks = 30

/** The median of what a process holds, over so many seconds. */
export async function look(pid: number, seconds: number, apart?: Apart): Promise<Held> {
  const seen: Held[] = []
  while (seen.length < looks) {
    seen.push({ resident: await residentOf(pid), descriptors: await descriptorsOf(pid, apart) })
    await sleep((seconds * 1000) / looks)
  }
  return { resident: median(seen.map(each => each.resident)), descriptors: median(seen.map(each => each.descriptors)) }
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}

// An upstream that is not asked any more is left after a minute; what is still open after this is lost.
const returnLimit = 90_000

/** The number of descriptors once it is at most `wanted`, or as it is when that does not come to be. */
export function descriptorsBack(pid: number, wanted: number, apart?: Apart): Promise<number> {
  return descriptorsOnce(count => count <= wanted, pid, apart)
}

/** The number of descriptors once it is at least `wanted`, or as it is when that does not come to be. */
export function descriptorsReach(pid: number, wanted: number): Promise<number> {
  return descriptorsOnce(count => count >= wanted, pid)
}

async function descriptorsOnce(holds: (count: number) => boolean, pid: number, apart?: Apart): Promise<number> {
  const deadline = performance.now() + returnLimit
  for (;;) {
    const count = await descriptorsOf(pid, apart)
    if (holds(count) || performance.now() > deadline) return count
    await sleep(100)
  }
}
