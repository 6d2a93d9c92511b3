import { createMutex } from '../keyed-mutex.ts'

const mib = 1024 * 1024
// Measured with etcd on the same disk of 370 MiB/s: the 99th percentile of its writes grows with what one sync finds (14 ms at 2 MiB, 34 ms at 32 MiB,
// 280 ms without pacing); below 2 MiB it is no better, and pushes are slower.
const first = 4 * mib
const least = 2 * mib
const most = 16 * mib
// A disk that is done sooner takes more at once, one that needs longer gets less; in ms.
const quick = 3
const slow = 8

/** How far the files of one disk may get ahead of it, so that the last fsync finds little, and the fsyncs of other programs do not wait long. */
export class SyncPacer {
  // One at a time: together they would be one large sync to everybody else.
  readonly #mutex = createMutex()
  readonly #now: () => number
  #step = first

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Bytes of a file after which it is synced. */
  get step(): number {
    return this.#step
  }

  /** Runs one sync, and learns from how long the disk took. */
  sync(task: () => Promise<void>): Promise<void> {
    return this.#mutex(async () => {
      const began = this.#now()
      await task()
      const took = this.#now() - began
      if (took < quick) this.#step = Math.min(this.#step * 2, most)
      else if (took > slow) this.#step = Math.max(this.#step / 2, least)
    })
  }
}

/** One file that grows, synced beside its writes. */
export class PacedFile {
  readonly #pacing: SyncPacer
  readonly #datasync: () => Promise<void>
  #dirty: number
  #syncing: Promise<void> | undefined
  #failure: { cause: unknown } | undefined

  /** A file of `offset` bytes, as if they had been written in one go. */
  constructor(pacing: SyncPacer, offset: number, datasync: () => Promise<void>) {
    this.#pacing = pacing
    this.#dirty = offset % pacing.step
    this.#datasync = datasync
  }

  /** Bytes were written. Resolves when there is room for more: one step may be on its way to the disk, and one more wait. Rejects if a sync has failed. */
  async wrote(bytes: number): Promise<void> {
    this.#dirty += bytes
    if (this.#dirty >= this.#pacing.step) {
      await this.settled()
      this.#dirty = 0
      this.#syncing = this.#sync()
    } else this.#check()
  }

  /** Resolves when no sync is under way. Rejects if one has failed. */
  async settled(): Promise<void> {
    await this.#syncing
    this.#check()
  }

  #check(): void {
    if (this.#failure) throw this.#failure.cause
  }

  // The kernel tells of a failed one once, and has dropped the bytes: a later one would succeed without them.
  async #sync(): Promise<void> {
    try {
      await this.#pacing.sync(this.#datasync)
    } catch (cause) {
      this.#failure = { cause }
    }
  }
}
