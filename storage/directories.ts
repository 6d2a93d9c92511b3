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
    const handle = await open(directory, 'r')
    try {
      await this.#limit(() => handle.sync())
    } finally {
      await handle.close()
    }
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

  /** Forgets `directory` and its parents: one of them was removed. */
  forget(directory: string): void {
    for (let each = directory; each.length > this.#top.length; each = dirname(each)) this.#durable.delete(each)
  }
}
