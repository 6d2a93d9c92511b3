import { IoPool, type StallThresholds } from './io-pool.ts'

/** What a disk can be asked for: to give, or to take. A filesystem that is frozen still gives. */
export type IoKind = 'reads' | 'writes'

/** How a disk is watched; the defaults are for production. */
export interface DiskIoOptions {
  /** Threads for system calls, of which names of hosts are looked up and passwords compared as well. */
  threadPoolSize?: number | undefined
  /** Time between two looks at what is under way, in ms. */
  checkIntervalMs?: number | undefined
  /** What does not answer any more, or nothing when all is well again. */
  onStallChange?: ((stalled: readonly IoKind[]) => void) | undefined
}

// Suspected after 3 s of silence and given up after 5 s; nobody waits for longer than 8 s.
const usualInterval = 500
const patience: StallThresholds = { suspectTicks: 6, stalledTicks: 10, callerTicks: 16 }
// Kept free for what is not the disk's.
const spared = 4

/**
 * The one way to the disk, so that one that hangs takes neither all threads nor its callers with it. It is given up when nothing comes back and a trial does not either;
 * then every call is refused at once, except for a trial from time to time.
 */
export class DiskIo {
  readonly #reads: IoPool
  readonly #writes: IoPool
  readonly #interval: number
  readonly #probe: () => Promise<unknown>
  readonly #changed: (stalled: readonly IoKind[]) => void
  #timer: NodeJS.Timeout | undefined
  #probing = false
  #told = 0

  /** `probe` does what only a disk that works can do, and throws or returns. */
  constructor(
    probe: () => Promise<unknown>,
    {
      threadPoolSize: threads = poolSize(),
      checkIntervalMs: interval = usualInterval,
      onStallChange: changed = () => {}
    }: DiskIoOptions = {}
  ) {
    const most = Math.max(2, threads - spared)
    const writes = Math.max(1, Math.floor((most * 5) / 12))
    const busy = () => this.#watch()
    this.#writes = new IoPool(writes, patience, busy)
    this.#reads = new IoPool(most - writes, patience, busy)
    this.#interval = interval
    this.#probe = probe
    this.#changed = changed
  }

  /** What does not answer. */
  get stalled(): readonly IoKind[] {
    return [...(this.#reads.stalled ? ['reads' as const] : []), ...(this.#writes.stalled ? ['writes' as const] : [])]
  }

  /** Calls that have not returned. */
  get running(): number {
    return this.#reads.running + this.#writes.running + (this.#probing ? 1 : 0)
  }

  /** As `Lane.run`, for a task that only reads. */
  read<T>(task: () => Promise<T>, late?: (value: T) => unknown): Promise<T> {
    return this.#reads.run(task, late)
  }

  /** As `Lane.run`, for a task that may write. */
  write<T>(task: () => Promise<T>, late?: (value: T) => unknown): Promise<T> {
    return this.#writes.run(task, late)
  }

  /** As `Lane.finish`: for closing what was read, or for closing and removing what was written. */
  finish(kind: IoKind, task: () => Promise<unknown>): Promise<void> {
    return (kind === 'reads' ? this.#reads : this.#writes).finish(task)
  }

  // Only while there is something to look at: an idle process sleeps.
  #watch(): void {
    this.#timer ??= setInterval(() => this.#look(), this.#interval).unref()
  }

  #look(): void {
    let trial = false
    for (const lane of [this.#reads, this.#writes]) {
      const state = lane.tick()
      if (state === 'fine') continue
      if (lane.hasFreeSlot) trial = true
      if (!lane.hasFreeSlot || this.#probing) lane.tryOpenCircuit()
    }
    if (trial) this.#try()
    this.#tell()
    if (!this.#reads.idle || !this.#writes.idle) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #try(): void {
    if (this.#probing) return
    this.#probing = true
    const returned = () => {
      this.#probing = false
      this.#reads.reportAlive()
      this.#writes.reportAlive()
      this.#tell()
    }
    // Whatever it says, the disk has said it.
    this.#probe().then(returned, returned)
  }

  #tell(): void {
    const { stalled } = this
    if (stalled.length > 0 === this.#told > 0) return
    this.#told = stalled.length
    this.#changed(stalled)
  }

  /** Ends looking. */
  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

// What libuv makes of it.
function poolSize(): number {
  const given = Number(process.env['UV_THREADPOOL_SIZE'])
  return Number.isInteger(given) && given > 0 ? Math.min(given, 1024) : 4
}
