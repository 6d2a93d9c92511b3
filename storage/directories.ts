import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createLimit } from './limit.ts'

// An entry of a directory is durable only after fsync of that directory. Those that this process made durable are remembered, so that a push into a
// known repository costs one fsync and not one per level.
const remembered = 20_000
// Node's pool has 16 threads here; fsync may take seconds, and reads must not queue behind it.
const concurrentSyncs = 6

/** Creates directories so that they survive power loss, each only once. */
export class Directories {
  readonly #top: string
  readonly #durable = new Set<string>()
  readonly #pending = new Map<string, Promise<void>>()
  readonly #limit = createLimit(concurrentSyncs)

  /** `top` exists and is durable already. */
  constructor(top: string) {
    this.#top = top
  }

  /** Runs an fsync when there is a place for it. */
  limited<T>(sync: () => Promise<T>): Promise<T> {
    return this.#limit(sync)
  }

  /** Makes the entries of `directory` durable. */
  async sync(directory: string): Promise<void> {
    await syncDirectory(directory, this.#limit)
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
    await mkdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
    // Also for one that was there: whoever made it may have died before this.
    await this.sync(parent)
    if (this.#durable.size >= remembered) this.#durable.clear()
    this.#durable.add(directory)
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

/** Makes the entries of `directory` durable; `limited` says when there is a place for the fsync. */
export async function syncDirectory(directory: string, limited: <T>(sync: () => Promise<T>) => Promise<T> = sync => sync()): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await limited(() => handle.sync())
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
