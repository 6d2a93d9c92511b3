import type { Shortage, Usage } from '../storage.ts'

// Estimated size of the links and the provenance record that accompany an object.
const linkBytes = 4096

/**
 * The space that a bucket takes: the last count, plus what this process has published since. Other processes write too,
 * and there is no counter that all of them could keep.
 */
export class S3Usage {
  /** Bytes; absent: no limit. */
  #budget: number | undefined
  #counted: { bytes: number; objects: number } | undefined
  #sinceCount = { bytes: 0, objects: 0 }

  constructor(budget: number | undefined) {
    this.#budget = budget
  }

  set budget(budget: number | undefined) {
    this.#budget = budget
  }

  get budget(): number | undefined {
    return this.#budget
  }

  /** Adds an object of so many bytes that this process published. */
  recordPublished(bytes: number): void {
    this.#sinceCount.bytes += bytes
    this.#sinceCount.objects++
  }

  /** Replaces the count by that of `count`, which lists the whole bucket. */
  async recount(count: () => Promise<{ bytes: number; objects: number }>): Promise<void> {
    // An object that is published meanwhile may be counted twice; the next count corrects that.
    this.#sinceCount = { bytes: 0, objects: 0 }
    this.#counted = await count()
  }

  usage(): Usage {
    return {
      ...(this.#counted
        ? { used: this.#counted.bytes + this.#sinceCount.bytes, usedInodes: this.#counted.objects + this.#sinceCount.objects }
        : {}),
      exact: false,
      ...(this.#budget === undefined ? {} : { budget: this.#budget }),
      reserve: 0,
      inodeReserve: 0,
      stalled: []
    }
  }

  /** Undefined if so many bytes fit, and before the first count. */
  shortage(bytes: number): Shortage | undefined {
    const { used, budget } = this.usage()
    const needed = bytes + linkBytes
    if (budget === undefined || used === undefined || used + needed <= budget) return undefined
    const excess = used + needed - budget
    const reason = `storage.budget allows ${budget} bytes, ${used} are used, and ${needed} more are needed: ${excess} too many`
    return { limit: 'storage.budget', unit: 'bytes', needed, excess, reason }
  }
}
