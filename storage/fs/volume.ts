import { open, readdir, rm, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { ownModes, ownNames } from '../layout.ts'
import type { Shortage, Usage, VolumeSpace } from '../storage.ts'
import { DiskIo, type DiskIoOptions } from './disk-io.ts'
import { type Limits, VolumeLimits } from './limits.ts'
import { type CountedUsage, UsageCounter } from './usage-counter.ts'
import { countTree, fileSize, UsageFile } from './usage-file.ts'

/** Usage of a disk, where everything is known. */
export type DiskUsage = Usage & VolumeSpace & { used: number; usedInodes: number }

/** Limits and disk calls of a volume; the defaults are no limits, and what is right for production. */
export interface VolumeOptions {
  limits?: Limits | undefined
  disk?: DiskIoOptions | undefined
  /** When an inexact usage is recounted: so many ms after the start, and again after so many. */
  recountMs?: { first: number; again: number } | undefined
}

const defaultRecountMs = { first: 30_000, again: 10 * 60_000 }
// A caller waits for statfs no longer than this; then the last answer counts.
const statfsTimeoutMs = 1_000
// Limits that do not depend on what else fills the disk.
const budgets: ReadonlySet<Shortage['limit']> = new Set(['storage.budget', 'storage.inodeBudget'])

interface VolumeDeps {
  root: string
  own: string
  disk: DiskIo
  file: UsageFile
}

/** The disk below a root: its calls, what the storage uses of it, and what it may use. */
export class Volume {
  readonly disk: DiskIo
  readonly counter: UsageCounter
  readonly limits: VolumeLimits
  readonly #deps: VolumeDeps
  readonly #stopped = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #recounting: Promise<void> | undefined

  private constructor(deps: VolumeDeps, usage: CountedUsage, space: VolumeSpace, limits: Limits) {
    const { root, disk, file } = deps
    this.disk = disk
    this.counter = new UsageCounter(usage, next => file.save(next))
    this.limits = new VolumeLimits(this.counter, limits, space, () => disk.read(() => spaceOf(root)))
    this.#deps = deps
  }

  /** The volume of `root`; its stored usage and temporary files are in the directory `own`. */
  static async open(
    root: string,
    own: string,
    access: 'owned' | 'read-only',
    { limits = {}, disk: options, recountMs = defaultRecountMs }: VolumeOptions
  ): Promise<Volume> {
    const disk = new DiskIo(() => probe(join(own, ownNames.trial)), options)
    const file = new UsageFile(own, disk)
    const space = await spaceOf(root)
    const stored = await file.load()
    const usage = stored ?? (await estimate(root, own, space))
    const volume = new Volume({ root, own, disk, file }, usage, space, limits)
    // A disk that takes no writes can still be read; the first change saves again.
    await volume.counter.open().catch(() => {})
    if (access === 'owned') await volume.#removeTemporary(join(own, ownNames.temporary))
    // An estimate may be far off.
    volume.#scheduleRecount(stored ? recountMs.first : 0, recountMs.again)
    return volume
  }

  // Temporary files of a process that died. Only the owner of the root may remove them.
  async #removeTemporary(directory: string): Promise<void> {
    const removed = { bytes: 0, inodes: 0 }
    const found = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => undefined)
    if (found) removed.inodes = 1 + found.length
    for (const entry of found ?? []) removed.bytes += (await fileSize(join(entry.parentPath, entry.name))) ?? 0
    await rm(directory, { recursive: true, force: true })
    this.counter.removed(removed)
  }

  #scheduleRecount(firstMs: number, againMs: number): void {
    this.#timer = setTimeout(async () => {
      if (!this.counter.exact && this.disk.stalled.length === 0) await this.recount(this.#stopped.signal).catch(() => {})
      if (!this.#stopped.signal.aborted) this.#scheduleRecount(againMs, againMs)
    }, firstMs).unref()
  }

  /** Counts the tree. Single-flight: calls meanwhile get the same count. */
  recount(signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#stopped.signal])
    const { disk, root, own } = this.#deps
    this.#recounting ??= this.counter
      .recount(() => countTree(disk, root, own, either))
      .finally(() => {
        this.#recounting = undefined
      })
    return this.#recounting
  }

  /**
   * Reads the filesystem's space unless that is fresh, within a bounded time; undefined if there is no need to wait.
   */
  refresh(): Promise<void> | undefined {
    const refreshing = this.disk.stalled.includes('reads') ? undefined : this.limits.refreshIfStale()
    return refreshing && bounded(refreshing)
  }

  /** Throws a LimitExceededError if so many bytes more exceed a limit. */
  assertFits(bytes: number): void {
    this.limits.assertFits(bytes)
  }

  async usage(): Promise<DiskUsage> {
    await this.refresh()
    const { bytes: used, inodes: usedInodes } = this.counter.used
    const { volume, effective } = this.limits
    return { ...volume, used, usedInodes, exact: this.counter.exact, ...effective, stalled: this.disk.stalled }
  }

  async shortage(bytes: number): Promise<Shortage | undefined> {
    await this.refresh()
    const shortage = this.limits.shortage(bytes)
    if (!shortage || budgets.has(shortage.limit) || this.disk.stalled.includes('reads')) return shortage
    // Other programs may have freed space since the last look.
    await bounded(this.limits.refresh())
    return this.limits.shortage(bytes)
  }

  /** Stores the usage. On a stalled disk the next start does without it. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#stopped.abort()
    await this.#recounting?.catch(() => {})
    if (this.disk.stalled.length === 0) {
      await this.counter.close().catch(() => {})
      await this.#deps.file.close().catch(() => {})
    }
    this.disk.close()
  }
}

async function spaceOf(root: string): Promise<VolumeSpace> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(root)
  return { free: bavail * bsize, total: blocks * bsize, inodesFree: ffree, inodesTotal: files }
}

// A new tree is empty. Of any other tree only an upper bound is known: what the disk holds.
async function estimate(root: string, own: string, { total, free, inodesTotal, inodesFree }: VolumeSpace): Promise<CountedUsage> {
  const [above, inside] = [await readdir(root), await readdir(own).catch(() => [])]
  const isNew = above.every(name => join(root, name) === own) && inside.every(name => name === ownNames.lock || name === ownNames.owner)
  if (isNew) return { used: { bytes: 0, inodes: 1 }, exact: true }
  return { used: { bytes: total - free, inodes: inodesTotal - inodesFree }, exact: false }
}

// An fsync, since the page cache could answer for the disk.
async function probe(path: string): Promise<void> {
  const handle = await open(path, 'w', ownModes.file)
  try {
    await handle.write('trial')
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await unlink(path)
}

// After a failure or a timeout the last answer counts.
async function bounded(refreshing: Promise<void>): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, statfsTimeoutMs)
  await Promise.race([refreshing.catch(() => {}), timeout.promise])
  clearTimeout(timer)
}
