import type { Shortage, Usage } from '../storage.ts'

// The links and marks that come with an object.
const linkBytes = 4096

/** What a bucket holds. There are other writers and no counter that all could keep, so this is the last count, and what was published here since. */
export class S3Usage {
  /** Bytes; absent: no limit. */
  #budget: number | undefined
  #counted: { bytes: number; objects: number } | undefined
  #since = { bytes: 0, objects: 0 }

  constructor(budget: number | undefined) {
    this.#budget = budget
  }

  set budget(budget: number | undefined) {
    this.#budget = budget
  }

  get budget(): number | undefined {
    return this.#budget
  }

  /** So many bytes were published here. */
  recordPublished(bytes: number): void {
    this.#since.bytes += bytes
    this.#since.objects++
  }

  /** `count` looks at everything that is there. */
  async recount(count: () => Promise<{ bytes: number; objects: number }>): Promise<void> {
    // What is published while it runs may be counted twice, which the next count puts right.
    this.#since = { bytes: 0, objects: 0 }
    this.#counted = await count()
  }

  usage(): Usage {
    return {
      ...(this.#counted ? { used: this.#counted.bytes + this.#since.bytes, usedInodes: this.#counted.objects + this.#since.objects } : {}),
      exact: false,
      ...(this.#budget === undefined ? {} : { budget: this.#budget }),
      reserve: 0,
      inodeReserve: 0,
      stalled: []
    }
  }

  /** Before the first count nothing is known, and nothing refused. */
  shortage(bytes: number): Shortage | undefined {
    const { used, budget } = this.usage()
    const needed = bytes + linkBytes
    if (budget === undefined || used === undefined || used + needed <= budget) return undefined
    const excess = used + needed - budget
    const reason = `storage.budget allows ${budget} bytes, ${used} are used, and ${needed} more are needed: ${excess} too many`
    return { limit: 'storage.budget', unit: 'bytes', needed, excess, reason }
  }
}
