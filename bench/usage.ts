import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** What some work took on the side of the server. */
export interface Usage {
  seconds: number
  /** user and sys of the whole process tree */
  cpuSeconds: number
  /** The most that was resident meanwhile, the processes of the tree added up. */
  peakBytes: number
}

/** USER_HZ: what the kernel counts in towards user space on every platform that the registry runs on. */
export const ticksPerSecond = 100

/** Does the work, and looks at what the server took for it. */
export async function measure<T>(pid: number, work: () => Promise<T>): Promise<Usage & { result: T }> {
  for (const each of treeOf(pid)) clearPeak(each)
  const before = cpuOf(pid)
  const began = performance.now()
  const result = await work()
  const seconds = (performance.now() - began) / 1000
  return { result, seconds, cpuSeconds: cpuOf(pid) - before, peakBytes: sum(treeOf(pid), each => memoryOf(each, 'VmHWM')) }
}

/** What is resident now, in bytes. */
export function residentOf(pid: number): number {
  return sum(treeOf(pid), each => memoryOf(each, 'VmRSS'))
}

/** What is resident now and no other process shares, in bytes. */
export function privateOf(pid: number): number {
  return sum(treeOf(pid), each =>
    sum([...read(`/proc/${each}/smaps_rollup`).matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)], ([, kib]) => Number(kib) * 1024)
  )
}

/** CPU seconds of a process and everything below it. */
export function cpuOf(pid: number): number {
  return sum(treeOf(pid), timesOf) / ticksPerSecond
}

/** utime, stime, and those of children that ended and were waited for. */
function timesOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`)
  // The name in parentheses may hold anything; utime is the twelfth field after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return sum(fields.slice(11, 15), Number)
}

function treeOf(pid: number): number[] {
  const children = threadsOf(pid).flatMap(thread => read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean))
  return [pid, ...children.flatMap(child => treeOf(Number(child)))]
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

function memoryOf(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024
}

function clearPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

// A process of the tree may end at any time.
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
