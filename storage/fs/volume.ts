import { open, readdir, rm, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Shortage, Usage, VolumeSpace } from '../storage.ts'
import { DiskIo, type DiskIoOptions } from './disk-io.ts'
import { type Limits, VolumeLimits } from './limits.ts'
import { type CountedUsage, type UsageAmount, UsageCounter } from './usage-counter.ts'
import { countTree, fileSize, UsageFile } from './usage-file.ts'

/** Of a disk everything is known. */
export type DiskUsage = Usage & VolumeSpace & { used: number; usedInodes: number }

/** How a store is kept within its limits; what is left out is unlimited, or as in production. */
export interface VolumeOptions {
  limits?: Limits | undefined
  disk?: DiskIoOptions | undefined
  /** How long after a start the files of a crashed process are counted anew, and after that how often if they were changed meanwhile; in ms. */
  recountMs?: { first: number; again: number } | undefined
}

const usualRecount = { first: 30_000, again: 10 * 60_000 }
// A question about space waits for a medium that hangs no longer than this; then the last answer counts.
const longestLook = 1_000
// Limits that do not depend on who else fills the disk.
const ofTheStore: ReadonlySet<Shortage['limit']> = new Set(['storage.budget', 'storage.inodeBudget'])

/** What a store takes of its disk, what it may take, and whether the disk answers. */
export class Volume {
  readonly disk: DiskIo
  readonly counter: UsageCounter
  readonly limits: VolumeLimits
  readonly #count: (signal: AbortSignal) => Promise<UsageAmount>
  readonly #file: UsageFile
  readonly #stopped = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #counting: Promise<void> | undefined

  private constructor(root: string, own: string, disk: DiskIo, file: UsageFile, known: CountedUsage, medium: VolumeSpace, limits: Limits) {
    this.disk = disk
    this.counter = new UsageCounter(known, next => file.save(next))
    this.limits = new VolumeLimits(this.counter, limits, medium, () => disk.read(() => look(root)))
    this.#file = file
    this.#count = signal => countTree(disk, root, own, signal)
  }

  /** Of the tree below `root`, which keeps its count and its temp files below `own`. */
  static async open(
    root: string,
    own: string,
    access: 'ours' | 'read-only',
    { limits = {}, disk: options, recountMs: recount = usualRecount }: VolumeOptions
  ): Promise<Volume> {
    const disk = new DiskIo(() => attempt(join(own, 'trial')), options)
    const file = new UsageFile(own, disk)
    const medium = await look(root)
    const loaded = await file.load()
    const known = loaded ?? (await guess(root, own, medium))
    const keeping = new Volume(root, own, disk, file, known, medium, limits)
    // A disk that takes nothing can still be read; the first change tries again.
    await keeping.counter.open().catch(() => {})
    if (access === 'ours') await keeping.#clear(join(own, 'tmp'))
    // Of a tree that was never counted nothing is known but a bound that may be far off.
    keeping.#recountLater(loaded ? recount.first : 0, recount.again)
    return keeping
  }

  // Temp files of a process that died; only their owner may remove them, and that is us now.
  async #clear(directory: string): Promise<void> {
    const gone = { bytes: 0, inodes: 0 }
    const found = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => undefined)
    if (found) gone.inodes = 1 + found.length
    for (const entry of found ?? []) gone.bytes += (await fileSize(join(entry.parentPath, entry.name))) ?? 0
    await rm(directory, { recursive: true, force: true })
    this.counter.removed(gone)
  }

  #recountLater(first: number, again: number): void {
    this.#timer = setTimeout(async () => {
      if (!this.counter.exact && this.disk.stalled.length === 0) await this.recount(this.#stopped.signal).catch(() => {})
      if (!this.#stopped.signal.aborted) this.#recountLater(again, again)
    }, first).unref()
  }

  /** Counts what is there; whoever asks meanwhile gets the same count. */
  recount(signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#stopped.signal])
    this.#counting ??= this.counter
      .recount(() => this.#count(either))
      .finally(() => {
        this.#counting = undefined
      })
    return this.#counting
  }

  /** Looks at the medium unless that was done a moment ago, but not for long; undefined if nobody has to wait. */
  refresh(): Promise<void> | undefined {
    const looking = this.disk.stalled.includes('reads') ? undefined : this.limits.refreshIfStale()
    return looking && within(looking)
  }

  /** Throws a NoRoomError if so many bytes more are beyond a limit. */
  assertFits(bytes: number): void {
    this.limits.assertFits(bytes)
  }

  async usage(): Promise<DiskUsage> {
    await this.refresh()
    const { bytes: used, inodes: usedInodes } = this.counter.used
    return { ...this.limits.medium, used, usedInodes, exact: this.counter.exact, ...this.limits.effective, stalled: this.disk.stalled }
  }

  async shortage(bytes: number): Promise<Shortage | undefined> {
    await this.refresh()
    const shortage = this.limits.shortage(bytes)
    if (!shortage || ofTheStore.has(shortage.limit) || this.disk.stalled.includes('reads')) return shortage
    // Nobody is refused for what others have made free meanwhile.
    await within(this.limits.refresh())
    return this.limits.shortage(bytes)
  }

  /** The last count; on a disk that does not answer the next start goes without it. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#stopped.abort()
    await this.#counting?.catch(() => {})
    if (this.disk.stalled.length === 0) {
      await this.counter.close().catch(() => {})
      await this.#file.close().catch(() => {})
    }
    this.disk.close()
  }
}

async function look(root: string): Promise<VolumeSpace> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(root)
  return { free: bavail * bsize, total: blocks * bsize, inodesFree: ffree, inodesTotal: files }
}

// A new tree is empty. Of any other it is known that it fits on the disk.
async function guess(root: string, own: string, { total, free, inodesTotal, inodesFree }: VolumeSpace): Promise<CountedUsage> {
  const [above, inside] = [await readdir(root), await readdir(own).catch(() => [])]
  const foreign = above.some(name => join(root, name) !== own) || inside.some(name => name !== 'lock' && name !== 'owner')
  if (!foreign) return { used: { bytes: 0, inodes: 1 }, exact: true }
  return { used: { bytes: total - free, inodes: inodesTotal - inodesFree }, exact: false }
}

// What the page cache cannot answer for the disk.
async function attempt(path: string): Promise<void> {
  const handle = await open(path, 'w')
  try {
    await handle.write('trial')
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await unlink(path)
}

async function within(looking: Promise<void>): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, longestLook)
  // What cannot be asked is as it was.
  await Promise.race([looking.catch(() => {}), timeout.promise])
  clearTimeout(timer)
}
