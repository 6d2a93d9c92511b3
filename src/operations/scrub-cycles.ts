import { type Clock, systemClock } from '../../storage/clock.ts'
import { scrubLease } from '../content/keys.ts'
import { atMostEvery, type ScrubEvent, type ScrubTotals } from './events.ts'
import { createReadRate, rateFor } from './read-rate.ts'
import { scrub } from './scrub.ts'
import { type CycleProgress, loadScrubPosition, type ScrubPosition, saveScrubPosition } from './scrub-position.ts'
import { storedBytes, type Tree } from './tree.ts'

/** What scrub cycles need of the process. */
export interface ScrubCyclesDeps {
  tree: Tree
  /** Within how many ms everything is to be read once; read again and again, since the setting may change. */
  everyMs: () => number
  /** Whether requests are being answered, which come first. */
  busy: () => boolean
  report: (event: ScrubEvent) => void
  /** Called when a cycle failed; it goes on after a pause. */
  failed: (error: Error) => void
  clock?: Pick<Clock, 'now' | 'sleep'>
}

/** How far the scrub is, for people and metrics. */
export interface ScrubStatus extends ScrubPosition {
  /** The part of the current cycle that is done, from 0 to 1; 1 between cycles. */
  done: number
}

const saveIntervalMs = 30_000
// A changed setting is noticed after this time. A timer cannot wait for a month anyway.
const maxSleepMs = 10 * 60_000
const retryDelayMs = 60_000
const startDelayMs = 60_000

/** Scrubs everything again and again, one cycle within `everyMs`. A restart resumes the cycle where it was. */
export class ScrubCycles {
  readonly #deps: ScrubCyclesDeps
  readonly #clock: Pick<Clock, 'now' | 'sleep'>
  #position: ScrubPosition = {}

  constructor(deps: ScrubCyclesDeps) {
    this.#deps = deps
    this.#clock = deps.clock ?? systemClock
  }

  get status(): ScrubStatus {
    const { round: cycle, last } = this.#position
    const done = cycle ? Math.min(1, cycle.total === 0 ? 0 : cycle.bytes / cycle.total) : last ? 1 : 0
    return { ...this.#position, done }
  }

  /** Records a scrub of everything that a command ran: it counts as a cycle. */
  async completed(began: number, { damaged, mended }: ScrubTotals): Promise<void> {
    this.#position = { ...this.#position, last: { began, ended: this.#clock.now(), damaged: damaged - mended } }
    await saveScrubPosition(this.#deps.tree.storage, this.#position)
  }

  /** Runs cycles until the signal is aborted, then resolves. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs, failed } = this.#deps
    this.#position = await this.#loadPosition()
    try {
      // After a start, requests need the disk more.
      await this.#clock.sleep(Math.min(startDelayMs, everyMs() / 10), signal)
      for (;;) {
        while (!this.#position.round && this.#msUntilNextCycle() > 0)
          await this.#clock.sleep(Math.min(maxSleepMs, this.#msUntilNextCycle()), signal)
        const done = await this.#runUnderLease(signal).catch(error => {
          signal.throwIfAborted()
          failed(error)
          return false
        })
        if (!done) await this.#clock.sleep(Math.min(retryDelayMs, everyMs()), signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  // Of the processes that share a storage one scrubs it, and another one resumes where that one ended.
  async #runUnderLease(signal: AbortSignal): Promise<boolean> {
    const { storage, content } = this.#deps.tree
    const lease = await content.coordination.acquireLease(scrubLease)
    if (content.coordination.othersWrite) this.#position = await this.#loadPosition()
    if (!lease) return false
    try {
      // Another process may have ended the cycle meanwhile.
      if (this.#position.round || this.#msUntilNextCycle() <= 0) await this.#runCycle(AbortSignal.any([signal, lease.signal]))
      return true
    } finally {
      if (this.#position.round && !lease.signal.aborted) await saveScrubPosition(storage, this.#position)
      await lease.release()
    }
  }

  // A clock that was set back must not delay the next cycle by years.
  async #loadPosition(): Promise<ScrubPosition> {
    const position = await loadScrubPosition(this.#deps.tree.storage)
    const { last } = position
    const now = this.#clock.now()
    return last && last.ended > now ? { ...position, last: { ...last, began: now, ended: now } } : position
  }

  #msUntilNextCycle(): number {
    const { last } = this.#position
    if (!last) return 0
    const everyMs = this.#deps.everyMs()
    // A cycle that took all of its time is followed by a pause, too.
    return Math.max(last.began + everyMs, last.ended + everyMs / 10) - this.#clock.now()
  }

  async #runCycle(signal: AbortSignal): Promise<void> {
    const { tree, everyMs, busy, report } = this.#deps
    const { now } = this.#clock
    const total = await storedBytes(tree.storage, signal)
    const cycle: CycleProgress = { began: now(), digest: '', bytes: 0, damaged: 0, ...this.#position.round, total }
    const damagedBefore = cycle.damaged
    const after = { digest: cycle.digest, bytes: cycle.bytes, began: cycle.began }
    this.#position = { ...this.#position, round: cycle }
    const saveIsDue = atMostEvery(saveIntervalMs, now)
    const readRate = createReadRate(() => rateFor(cycle.total, everyMs()), busy, this.#clock)
    const done = (digest: string, { bytes, damaged, mended }: Readonly<ScrubTotals>) => {
      Object.assign(cycle, { digest, bytes, damaged: damagedBefore + damaged - mended })
      if (saveIsDue()) void saveScrubPosition(tree.storage, this.#position)
    }
    for await (const event of scrub(tree, { signal, readRate, after, done, total })) {
      if (event.type === 'done') {
        this.#position = { last: { began: cycle.began, ended: now(), damaged: damagedBefore + event.damaged - event.mended } }
        await saveScrubPosition(tree.storage, this.#position)
      }
      report(event)
    }
  }
}
