import { type Clock, systemClock } from '../clock.ts'
import { createMutex } from '../keyed-mutex.ts'

const mib = 1024 * 1024
// Measured with etcd on the same disk of 370 MiB/s: the 99th percentile of its writes grows with what one sync finds
// (14 ms at 2 MiB, 34 ms at 32 MiB, 280 ms without pacing). Below 2 MiB it is no better, and pushes are slower.
const initialStepBytes = 4 * mib
const minStepBytes = 2 * mib
const maxStepBytes = 16 * mib
// A sync that is faster doubles the step, one that is slower halves it.
const fastSyncMs = 3
const slowSyncMs = 8

/**
 * How far the files of one disk may get ahead of it: so the last fsync finds little, and other programs wait little.
 */
export class SyncPacer {
  // One sync at a time: to other programs several would be one large one.
  readonly #mutex = createMutex()
  readonly #clock: Pick<Clock, 'monotonic'>
  #stepBytes = initialStepBytes

  constructor(clock: Pick<Clock, 'monotonic'> = systemClock) {
    this.#clock = clock
  }

  /** Bytes after which a file is synced. */
  get stepBytes(): number {
    return this.#stepBytes
  }

  /** Runs one sync, and adapts the step to its duration. */
  sync(task: () => Promise<void>): Promise<void> {
    return this.#mutex(async () => {
      const began = this.#clock.monotonic()
      await task()
      const tookMs = this.#clock.monotonic() - began
      if (tookMs < fastSyncMs) this.#stepBytes = Math.min(this.#stepBytes * 2, maxStepBytes)
      else if (tookMs > slowSyncMs) this.#stepBytes = Math.max(this.#stepBytes / 2, minStepBytes)
    })
  }
}

/** A growing file that is synced beside its writes. */
export class PacedFile {
  readonly #pacer: SyncPacer
  readonly #datasync: () => Promise<void>
  #unsyncedBytes: number
  #syncing: Promise<void> | undefined
  #failure: { cause: unknown } | undefined

  /** A file of `offset` bytes, as if they had been written in one go. */
  constructor(pacer: SyncPacer, offset: number, datasync: () => Promise<void>) {
    this.#pacer = pacer
    this.#unsyncedBytes = offset % pacer.stepBytes
    this.#datasync = datasync
  }

  /**
   * Call after each write. Resolves when the file may grow: one step may be on its way to the disk while the next one
   * is written. Rejects if a sync has failed.
   */
  async wrote(bytes: number): Promise<void> {
    this.#unsyncedBytes += bytes
    if (this.#unsyncedBytes >= this.#pacer.stepBytes) {
      await this.settled()
      this.#unsyncedBytes = 0
      this.#syncing = this.#sync()
    } else this.#check()
  }

  /** Resolves when no sync is running. Rejects if one has failed. */
  async settled(): Promise<void> {
    await this.#syncing
    this.#check()
  }

  #check(): void {
    if (this.#failure) throw this.#failure.cause
  }

  // The kernel reports a failed sync once, and has dropped the bytes: a later sync would succeed without them.
  async #sync(): Promise<void> {
    try {
      await this.#pacer.sync(this.#datasync)
    } catch (cause) {
      this.#failure = { cause }
    }
  }
}
