import { type Clock, systemClock } from '../clock.ts'
import { IoPool, type StallThresholds } from './io-pool.ts'

/** The kinds of disk calls. A frozen filesystem still answers reads. */
export type IoKind = 'reads' | 'writes'

/** Options of disk calls; the defaults are for production. */
export interface DiskIoOptions {
  /** Size of the thread pool for system calls; DNS look-ups and password checks use it too. Default: that of libuv. */
  threadPoolSize?: number | undefined
  /** Time between two ticks of the I/O pools. */
  checkIntervalMs?: number | undefined
  clock?: Pick<Clock, 'after'> | undefined
  /** Called with the kinds that stopped answering, or with none when the disk answers again. */
  onStallChange?: ((stalled: readonly IoKind[]) => void) | undefined
}

// Suspected after 3 s of silence and stalled after 5 s; a caller waits for 8 s at most.
const defaultCheckIntervalMs = 500
const thresholds: StallThresholds = { suspectTicks: 6, stalledTicks: 10, callerTicks: 16 }
const libuvThreadPoolSize = 4
// Threads that disk calls never take.
const spareThreads = 4

/**
 * The only way to the disk: one that hangs takes neither all threads nor its callers with it. The circuit opens when
 * nothing returns and a probe does not either; then every call is refused at once, but for a probe from time to time.
 */
export class DiskIo {
  readonly #reads: IoPool
  readonly #writes: IoPool
  readonly #checkIntervalMs: number
  readonly #clock: Pick<Clock, 'after'>
  readonly #probe: () => Promise<unknown>
  readonly #onStallChange: (stalled: readonly IoKind[]) => void
  #cancelTick: (() => void) | undefined
  #probing = false
  #reportedStall = false

  /** `probe` does what only a working disk can do, and resolves or rejects. */
  constructor(
    probe: () => Promise<unknown>,
    {
      threadPoolSize = libuvThreadPoolSize,
      checkIntervalMs = defaultCheckIntervalMs,
      clock = systemClock,
      onStallChange = () => {}
    }: DiskIoOptions = {}
  ) {
    const slots = Math.max(2, threadPoolSize - spareThreads)
    const writeSlots = Math.max(1, Math.floor((slots * 5) / 12))
    const onBusy = () => this.#scheduleTick()
    this.#writes = new IoPool(writeSlots, thresholds, onBusy)
    this.#reads = new IoPool(slots - writeSlots, thresholds, onBusy)
    this.#checkIntervalMs = checkIntervalMs
    this.#clock = clock
    this.#probe = probe
    this.#onStallChange = onStallChange
  }

  /** The kinds of calls that the disk does not answer. */
  get stalled(): readonly IoKind[] {
    return [...(this.#reads.stalled ? ['reads' as const] : []), ...(this.#writes.stalled ? ['writes' as const] : [])]
  }

  /** Calls that have not returned. */
  get running(): number {
    return this.#reads.running + this.#writes.running + (this.#probing ? 1 : 0)
  }

  /** `IoPool.run` for a task that only reads. */
  read<T>(task: () => Promise<T>, onLate?: (value: T) => unknown): Promise<T> {
    return this.#reads.run(task, onLate)
  }

  /** `IoPool.run` for a task that may write. */
  write<T>(task: () => Promise<T>, onLate?: (value: T) => unknown): Promise<T> {
    return this.#writes.run(task, onLate)
  }

  /** `IoPool.finish`: for closing what was read, or for closing and removing what was written. */
  finish(kind: IoKind, task: () => Promise<unknown>): Promise<void> {
    return (kind === 'reads' ? this.#reads : this.#writes).finish(task)
  }

  // Only while a pool is busy: an idle process sleeps.
  #scheduleTick(): void {
    this.#cancelTick ??= this.#clock.after(this.#checkIntervalMs, () => {
      this.#cancelTick = undefined
      this.#tick()
      if (!this.#reads.idle || !this.#writes.idle) this.#scheduleTick()
    })
  }

  #tick(): void {
    let needsProbe = false
    for (const pool of [this.#reads, this.#writes]) {
      if (pool.tick() === 'healthy') continue
      if (pool.hasFreeSlot) needsProbe = true
      if (!pool.hasFreeSlot || this.#probing) pool.tryOpenCircuit()
    }
    if (needsProbe) this.#startProbe()
    this.#reportStall()
  }

  #startProbe(): void {
    if (this.#probing) return
    this.#probing = true
    const returned = () => {
      this.#probing = false
      this.#reads.reportAlive()
      this.#writes.reportAlive()
      this.#reportStall()
    }
    // An error is an answer of the disk too.
    this.#probe().then(returned, returned)
  }

  #reportStall(): void {
    const { stalled } = this
    if (stalled.length > 0 === this.#reportedStall) return
    this.#reportedStall = stalled.length > 0
    this.#onStallChange(stalled)
  }

  /** Stops the ticks. */
  close(): void {
    this.#cancelTick?.()
    this.#cancelTick = undefined
  }
}
