import { acquireLease } from '../../storage/lease.ts'
import { scrubLease } from '../content/keys.ts'
import { storedBytes } from './blobs.ts'
import type { Tree } from './check.ts'
import { everySoOften, type ScrubEvent, type ScrubTotals } from './events.ts'
import { createPace, type PaceTimes, rateFor, usualTimes } from './read-rate.ts'
import { scrub } from './scrub.ts'
import { loadPosition, type Position, type Round, savePosition } from './scrub-position.ts'

/** What the rounds need of the process. */
export interface RoundParts {
  tree: Tree
  /** Within how many ms everything is to be read once; asked again and again, since it may change. */
  every: () => number
  /** Whether requests are being answered, which come first. */
  busy: () => boolean
  told: (event: ScrubEvent) => void
  /** A round broke off; it goes on after a pause. */
  failed: (error: Error) => void
  times?: PaceTimes
}

/** Where the scrubbing stands, for people and metrics. */
export interface Standing extends Position {
  /** The part of the current round that is done, from 0 to 1; 1 while none is needed. */
  done: number
}

const savedEvery = 30_000
// The longest sleep, so that a changed setting is seen; timers cannot do a month anyway.
const longestSleep = 10 * 60_000
const retryAfter = 60_000
const settling = 60_000

/** Reads everything again and again, a round within `every`, and goes on after a restart where it was. */
export class Rounds {
  readonly #parts: RoundParts
  readonly #times: PaceTimes
  #position: Position = {}

  constructor(parts: RoundParts) {
    this.#parts = parts
    this.#times = parts.times ?? usualTimes
  }

  get standing(): Standing {
    const { round } = this.#position
    const done = round ? Math.min(1, round.total === 0 ? 0 : round.bytes / round.total) : this.#position.last ? 1 : 0
    return { ...this.#position, done }
  }

  /** Another scrub of everything has ended: it counts as a round. */
  async completed(began: number, { damaged, mended }: ScrubTotals): Promise<void> {
    this.#position = { ...this.#position, last: { began, ended: this.#times.now(), damaged: damaged - mended } }
    await savePosition(this.#parts.tree.storage, this.#position)
  }

  /** Goes on until the signal is aborted, then resolves. */
  async run(signal: AbortSignal): Promise<void> {
    const { every, failed } = this.#parts
    this.#position = await this.#loaded()
    try {
      // A start has better things to do.
      await this.#sleep(Math.min(settling, every() / 10), signal)
      for (;;) {
        while (!this.#position.round && this.#rest() > 0) await this.#sleep(Math.min(longestSleep, this.#rest()), signal)
        const done = await this.#roundAlone(signal).catch(error => {
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
  async #roundAlone(signal: AbortSignal): Promise<boolean> {
    const { storage } = this.#parts.tree
    const { conditionalObjects: agreement } = storage
    const lease = agreement && (await acquireLease(agreement, scrubLease))
    if (agreement) this.#position = await this.#loaded()
    if (agreement && !lease) return false
    try {
      if (!agreement || this.#position.round || this.#rest() <= 0)
        await this.#round(lease ? AbortSignal.any([signal, lease.signal]) : signal)
      return true
    } finally {
      if (this.#position.round && !lease?.signal.aborted) await savePosition(storage, this.#position)
      await lease?.release()
    }
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return this.#times.sleep(ms, signal)
  }

  // A clock that was set back must not put the next round off for years.
  async #loaded(): Promise<Position> {
    const position = await loadPosition(this.#parts.tree.storage)
    const { last } = position
    const now = this.#times.now()
    return last && last.ended > now ? { ...position, last: { ...last, began: now, ended: now } } : position
  }

  #rest(): number {
    const { last } = this.#position
    if (!last) return 0
    const every = this.#parts.every()
    // After a round that took all of its time the next one does not begin at once either.
    return Math.max(last.began + every, last.ended + every / 10) - this.#times.now()
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { tree, every, busy, told } = this.#parts
    const { now } = this.#times
    const total = await storedBytes(tree.storage, signal)
    const round: Round = { began: now(), digest: '', bytes: 0, damaged: 0, ...this.#position.round, total }
    const before = round.damaged
    const after = { digest: round.digest, bytes: round.bytes, began: round.began }
    this.#position = { ...this.#position, round }
    const due = everySoOften(savedEvery, now)
    const pace = createPace(() => rateFor(round.total, every()), busy, this.#times)
    const done = (digest: string, { bytes, damaged, mended }: Readonly<ScrubTotals>) => {
      Object.assign(round, { digest, bytes, damaged: before + damaged - mended })
      if (due()) void savePosition(tree.storage, this.#position)
    }
    for await (const event of scrub(tree, { signal, pace, after, done, total })) {
      if (event.type === 'done') {
        this.#position = { last: { began: round.began, ended: now(), damaged: before + event.damaged - event.mended } }
        await savePosition(tree.storage, this.#position)
      }
      told(event)
    }
  }
}
