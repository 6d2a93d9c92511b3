import { open, readdir, rm, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Shortage, Usage, VolumeSpace } from '../storage.ts'
import { Disk, type DiskOptions } from './disk.ts'
import { type Limits, Space } from './limits.ts'
import { Account, type Amount, type Known } from './usage-counter.ts'
import { CountFile, countBelow, sizeOf } from './usage-file.ts'

/** Of a disk everything is known. */
export type DiskUsage = Usage & VolumeSpace & { used: number; usedInodes: number }

/** How a store is kept in bounds; what is left out is unlimited, or as in production. */
export interface KeepingOptions {
  limits?: Limits | undefined
  disk?: DiskOptions | undefined
  /** How long after a start the files of a crashed process are counted anew, and after that how often if they were changed meanwhile; in ms. */
  recount?: { first: number; again: number } | undefined
}

const usualRecount = { first: 30_000, again: 10 * 60_000 }
// A question about space waits for a medium that hangs no longer than this; then the last answer counts.
const longestLook = 1_000
// Limits that do not depend on who else fills the disk.
const ofTheStore: ReadonlySet<Shortage['limit']> = new Set(['storage.budget', 'storage.inodeBudget'])

/** What a store takes of its disk, what it may take, and whether the disk answers. */
export class Keeping {
  readonly disk: Disk
  readonly account: Account
  readonly space: Space
  readonly #count: (signal: AbortSignal) => Promise<Amount>
  readonly #file: CountFile
  readonly #stopped = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #counting: Promise<void> | undefined

  private constructor(root: string, own: string, disk: Disk, file: CountFile, known: Known, medium: VolumeSpace, limits: Limits) {
    this.disk = disk
    this.account = new Account(known, next => file.save(next))
    this.space = new Space(this.account, limits, medium, () => disk.read(() => look(root)))
    this.#file = file
    this.#count = signal => countBelow(disk, root, own, signal)
  }

  /** Of the tree below `root`, which keeps its count and its temp files below `own`. */
  static async open(
    root: string,
    own: string,
    access: 'ours' | 'read-only',
    { limits = {}, disk: options, recount = usualRecount }: KeepingOptions
  ): Promise<Keeping> {
    const disk = new Disk(() => attempt(join(own, 'trial')), options)
    const file = new CountFile(own, disk)
    const medium = await look(root)
    const loaded = await file.load()
    const known = loaded ?? (await guess(root, own, medium))
    const keeping = new Keeping(root, own, disk, file, known, medium, limits)
    // A disk that takes nothing can still be read; the first change tries again.
    await keeping.account.open().catch(() => {})
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
    for (const entry of found ?? []) gone.bytes += (await sizeOf(join(entry.parentPath, entry.name))) ?? 0
    await rm(directory, { recursive: true, force: true })
    this.account.removed(gone)
  }

  #recountLater(first: number, again: number): void {
    this.#timer = setTimeout(async () => {
      if (!this.account.exact && this.disk.stalled.length === 0) await this.recount(this.#stopped.signal).catch(() => {})
      if (!this.#stopped.signal.aborted) this.#recountLater(again, again)
    }, first).unref()
  }

  /** Counts what is there; whoever asks meanwhile gets the same count. */
  recount(signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#stopped.signal])
    this.#counting ??= this.account
      .recount(() => this.#count(either))
      .finally(() => {
        this.#counting = undefined
      })
    return this.#counting
  }

  /** Looks at the medium unless that was done a moment ago, but not for long; undefined if nobody has to wait. */
  look(): Promise<void> | undefined {
    const looking = this.disk.stalled.includes('reads') ? undefined : this.space.look()
    return looking && within(looking)
  }

  /** Throws a NoRoomError if so many bytes more are beyond a limit. */
  demand(bytes: number): void {
    this.space.demand(bytes)
  }

  async usage(): Promise<DiskUsage> {
    await this.look()
    const { bytes: used, inodes: usedInodes } = this.account.used
    return { ...this.space.medium, used, usedInodes, exact: this.account.exact, ...this.space.allowed, stalled: this.disk.stalled }
  }

  async shortage(bytes: number): Promise<Shortage | undefined> {
    await this.look()
    const shortage = this.space.shortage(bytes)
    if (!shortage || ofTheStore.has(shortage.limit) || this.disk.stalled.includes('reads')) return shortage
    // Nobody is refused for what others have made free meanwhile.
    await within(this.space.lookAgain())
    return this.space.shortage(bytes)
  }

  /** The last count; on a disk that does not answer the next start goes without it. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#stopped.abort()
    await this.#counting?.catch(() => {})
    if (this.disk.stalled.length === 0) {
      await this.account.close().catch(() => {})
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
async function guess(root: string, own: string, { total, free, inodesTotal, inodesFree }: VolumeSpace): Promise<Known> {
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
