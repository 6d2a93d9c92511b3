import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createSemaphore } from '../semaphore.ts'
import type { DiskIo } from './disk-io.ts'
import type { UsageCounter } from './usage-counter.ts'

// An entry of a directory is durable only after fsync of that directory. Those that this process made durable are remembered, so that a push into a
// known repository costs one fsync and not one per level.
const remembered = 5_000
// Of the writes that are under way at once: fsync may take seconds, and the others must not queue behind it.
const concurrentSyncs = 4

/** What everything that changes a directory goes through. */
export interface CountedDisk {
  disk: DiskIo
  counter: UsageCounter
}

/** Creates directories so that they survive power loss, each only once. */
export class Directories {
  readonly #top: string
  readonly #ledger: CountedDisk
  readonly #durable = new Set<string>()
  readonly #pending = new Map<string, Promise<void>>()
  readonly #limit = createSemaphore(concurrentSyncs)

  /** `top` exists and is durable already. */
  constructor(top: string, ledger: CountedDisk) {
    this.#top = top
    this.#ledger = ledger
  }

  /** Runs an fsync when there is a place for it. */
  limitSync<T>(sync: () => Promise<T>): Promise<T> {
    return this.#limit(() => this.#ledger.disk.write(sync))
  }

  /** Makes the entries of `directory` durable. */
  async sync(directory: string): Promise<void> {
    await this.limitSync(() => syncDirectory(directory))
  }

  /** Resolves when `directory` exists and its name, and that of each of its parents, is durable. */
  async ensure(directory: string): Promise<void> {
    if (directory === this.#top || this.#durable.has(directory)) return
    const running = this.#pending.get(directory)
    if (running) return running
    const work = this.#make(directory).finally(() => this.#pending.delete(directory))
    this.#pending.set(directory, work)
    return work
  }

  async #make(directory: string): Promise<void> {
    const parent = dirname(directory)
    await this.ensure(parent)
    await this.#add(directory)
    // Also for one that was there: whoever made it may have died before this.
    await this.sync(parent)
    if (this.#durable.size >= remembered) this.#durable.clear()
    this.#durable.add(directory)
  }

  async #add(directory: string): Promise<void> {
    const { disk, counter } = this.#ledger
    const made = counter.reserve({ bytes: 0, inodes: 1 }, () => disk.write(() => mkdir(directory)))
    await made.catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }

  /** Creates `directory` and those above it that are missing, for what need not survive power loss. */
  async create(directory: string): Promise<void> {
    try {
      await this.#add(directory)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || directory === this.#top) throw error
      await this.create(dirname(directory))
      await this.create(directory)
    }
  }

  /** Waits for whoever is just making `directory`, whose name is not durable before that. */
  async settled(directory: string): Promise<void> {
    await this.#pending.get(directory)
  }

  /** Forgets `directory` and its parents: one of them was removed. */
  forget(directory: string): void {
    for (let each = directory; each.length > this.#top.length; each = dirname(each)) this.#durable.delete(each)
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
 * Creates `directory` and those above it that are missing; resolves to the topmost one that is new. Like `mkdir` with `recursive`, which reports a filesystem that
 * is mounted read-only as ENOENT.
 */
export async function makeDirectories(directory: string): Promise<string | undefined> {
  try {
    await mkdir(directory)
    return directory
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return undefined
    if (code !== 'ENOENT' || dirname(directory) === directory) throw error
  }
  const above = await makeDirectories(dirname(directory))
  const made = await makeDirectories(directory)
  return above ?? made
}
