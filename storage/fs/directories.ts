import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ownModes } from '../layout.ts'
import { createSemaphore } from '../semaphore.ts'
import type { DiskIo } from './disk-io.ts'
import type { UsageCounter } from './usage-counter.ts'

// An entry of a directory is durable only after an fsync of that directory. The paths that this process made durable
// are cached, so that a push into a known repository costs one fsync and not one per level.
const maxCachedPaths = 5_000
// Fewer than the slots for writes: an fsync may take seconds, and other writes must not queue behind it.
const concurrentSyncs = 4

/** A disk together with the count of what is stored on it. */
export interface CountedDisk {
  disk: DiskIo
  counter: UsageCounter
}

/** Creates directories that survive power loss, each only once. */
export class Directories {
  readonly #root: string
  readonly #deps: CountedDisk
  readonly #durable = new Set<string>()
  /** Pushes and fills under way wait for these; `limits.uploads` and the bound on fills are theirs. */
  readonly #pending = new Map<string, Promise<void>>()
  readonly #syncs = createSemaphore(concurrentSyncs)

  /** `root` exists and is durable already. */
  constructor(root: string, deps: CountedDisk) {
    this.#root = root
    this.#deps = deps
  }

  /** Runs an fsync, a few at a time. */
  limitSync<T>(sync: () => Promise<T>): Promise<T> {
    return this.#syncs(() => this.#deps.disk.write(sync))
  }

  /** Makes the entries of `directory` durable. */
  async sync(directory: string): Promise<void> {
    await this.limitSync(() => syncDirectory(directory))
  }

  /** Resolves when `directory` exists, and its name and those of all its parents are durable. */
  async ensure(directory: string): Promise<void> {
    if (directory === this.#root || this.#durable.has(directory)) return
    const running = this.#pending.get(directory)
    if (running) return running
    const work = this.#createDurably(directory).finally(() => this.#pending.delete(directory))
    this.#pending.set(directory, work)
    return work
  }

  async #createDurably(directory: string): Promise<void> {
    const parent = dirname(directory)
    await this.ensure(parent)
    await this.#add(directory)
    // Also for a directory that existed: the process that made it may have died before its own fsync.
    await this.sync(parent)
    if (this.#durable.size >= maxCachedPaths) this.#durable.clear()
    this.#durable.add(directory)
  }

  async #add(directory: string): Promise<void> {
    const { disk, counter } = this.#deps
    const made = counter.reserve({ bytes: 0, inodes: 1 }, () => disk.write(() => mkdir(directory, ownModes.directory)))
    await made.catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }

  /** Creates `directory` and its missing parents, for content that need not survive power loss. */
  async create(directory: string): Promise<void> {
    try {
      await this.#add(directory)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || directory === this.#root) throw error
      await this.create(dirname(directory))
      await this.create(directory)
    }
  }

  /** Waits for a running `ensure` of `directory`, whose name is not durable before that. */
  async settled(directory: string): Promise<void> {
    await this.#pending.get(directory)
  }

  /** Drops `directory` and its parents from the cache, since one of them was removed. */
  forget(directory: string): void {
    for (let each = directory; each.length > this.#root.length; each = dirname(each)) this.#durable.delete(each)
  }
}

/** Makes the entries of `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Creates `directory` and its missing parents; resolves to the topmost new one. `root` and what is below belongs to its
 * user alone, what is above has the usual mode. Unlike `mkdir` with `recursive`, which
 * reports ENOENT on a read-only filesystem, this reports EROFS.
 */
export async function makeDirectories(directory: string, root: string): Promise<string | undefined> {
  try {
    await mkdir(directory, directory.length < root.length ? {} : ownModes.directory)
    return directory
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return undefined
    if (code !== 'ENOENT' || dirname(directory) === directory) throw error
  }
  const above = await makeDirectories(dirname(directory), root)
  const made = await makeDirectories(directory, root)
  return above ?? made
}
