import { acquireLease } from '../../storage/lease.ts'
import { scrubLease } from '../content/keys.ts'
import { storedBytes } from './blobs.ts'
import type { Tree } from './check.ts'
import { atMostEvery, type ScrubEvent, type ScrubTotals } from './events.ts'
import { createReadRate, rateFor, type ScrubClock, systemClock } from './read-rate.ts'
import { scrub } from './scrub.ts'
import { type CycleProgress, loadScrubPosition, type ScrubPosition, saveScrubPosition } from './scrub-position.ts'

/** What the rounds need of the process. */
export interface ScrubCyclesDeps {
  tree: Tree
  /** Within how many ms everything is to be read once; asked again and again, since it may change. */
  everyMs: () => number
  /** Whether requests are being answered, which come first. */
  busy: () => boolean
  report: (event: ScrubEvent) => void
  /** A round broke off; it goes on after a pause. */
  failed: (error: Error) => void
  clock?: ScrubClock
}

/** Where the scrubbing stands, for people and metrics. */
export interface ScrubStatus extends ScrubPosition {
  /** The part of the current round that is done, from 0 to 1; 1 while none is needed. */
  done: number
}

const savedEvery = 30_000
// The longest sleep, so that a changed setting is seen; timers cannot do a month anyway.
const longestSleep = 10 * 60_000
const retryAfter = 60_000
const settling = 60_000

/** Reads everything again and again, a round within `every`, and goes on after a restart where it was. */
export class ScrubCycles {
  readonly #deps: ScrubCyclesDeps
  readonly #clock: ScrubClock
  #position: ScrubPosition = {}

  constructor(parts: ScrubCyclesDeps) {
    this.#deps = parts
    this.#clock = parts.clock ?? systemClock
  }

  get status(): ScrubStatus {
    const { round } = this.#position
    const done = round ? Math.min(1, round.total === 0 ? 0 : round.bytes / round.total) : this.#position.last ? 1 : 0
    return { ...this.#position, done }
  }

  /** Another scrub of everything has ended: it counts as a round. */
  async completed(began: number, { damaged, mended }: ScrubTotals): Promise<void> {
    this.#position = { ...this.#position, last: { began, ended: this.#clock.now(), damaged: damaged - mended } }
    await saveScrubPosition(this.#deps.tree.storage, this.#position)
  }

  /** Goes on until the signal is aborted, then resolves. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs: every, failed } = this.#deps
    this.#position = await this.#loadPosition()
    try {
      // A start has better things to do.
      await this.#sleep(Math.min(settling, every() / 10), signal)
      for (;;) {
        while (!this.#position.round && this.#msUntilNextCycle() > 0)
          await this.#sleep(Math.min(longestSleep, this.#msUntilNextCycle()), signal)
        const done = await this.#runUnderLease(signal).catch(error => {
          signal.throwIfAborted()
          failed(error)
          return false
        })
        if (!done) await this.#sleep(Math.min(retryAfter, every()), signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  // Of the processes that share a store one reads it; another one goes on where that one ended.
  async #runUnderLease(signal: AbortSignal): Promise<boolean> {
    const { storage } = this.#deps.tree
    const { conditionalObjects: agreement } = storage
    const lease = agreement && (await acquireLease(agreement, scrubLease))
    if (agreement) this.#position = await this.#loadPosition()
    if (agreement && !lease) return false
    try {
      if (!agreement || this.#position.round || this.#msUntilNextCycle() <= 0)
        await this.#runCycle(lease ? AbortSignal.any([signal, lease.signal]) : signal)
      return true
    } finally {
      if (this.#position.round && !lease?.signal.aborted) await saveScrubPosition(storage, this.#position)
      await lease?.release()
    }
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return this.#clock.sleep(ms, signal)
  }

  // A clock that was set back must not put the next round off for years.
  async #loadPosition(): Promise<ScrubPosition> {
    const position = await loadScrubPosition(this.#deps.tree.storage)
    const { last } = position
    const now = this.#clock.now()
    return last && last.ended > now ? { ...position, last: { ...last, began: now, ended: now } } : position
  }

  #msUntilNextCycle(): number {
    const { last } = this.#position
    if (!last) return 0
    const every = this.#deps.everyMs()
    // After a round that took all of its time the next one does not begin at once either.
    return Math.max(last.began + every, last.ended + every / 10) - this.#clock.now()
  }

  async #runCycle(signal: AbortSignal): Promise<void> {
    const { tree, everyMs: every, busy, report: told } = this.#deps
    const { now } = this.#clock
    const total = await storedBytes(tree.storage, signal)
    const round: CycleProgress = { began: now(), digest: '', bytes: 0, damaged: 0, ...this.#position.round, total }
    const before = round.damaged
    const after = { digest: round.digest, bytes: round.bytes, began: round.began }
    this.#position = { ...this.#position, round }
    const due = atMostEvery(savedEvery, now)
    const pace = createReadRate(() => rateFor(round.total, every()), busy, this.#clock)
    const done = (digest: string, { bytes, damaged, mended }: Readonly<ScrubTotals>) => {
      Object.assign(round, { digest, bytes, damaged: before + damaged - mended })
      if (due()) void saveScrubPosition(tree.storage, this.#position)
    }
    for await (const event of scrub(tree, { signal, readRate: pace, after, done, total })) {
      if (event.type === 'done') {
        this.#position = { last: { began: round.began, ended: now(), damaged: before + event.damaged - event.mended } }
        await saveScrubPosition(tree.storage, this.#position)
      }
      told(event)
    }
  }
}
