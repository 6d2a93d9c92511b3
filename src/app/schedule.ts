import { type Clock, systemClock } from '../../storage/clock.ts'
import type { Storage } from '../../storage/storage.ts'
import { gcSchedule as key } from '../content/keys.ts'
import type { Coordination } from '../content/shared/coordination.ts'

const jitter = 0.1
const minDelayMs = 5 * 60_000
const retryMs = 3_600_000
// Settings may have changed meanwhile. A timer cannot be set for longer than 24 days either.
const maxSleepMs = 10 * 60_000

/** What is stored of a schedule; ms since the epoch. */
interface ScheduleState {
  began: number
  succeeded?: number
}

/** What a schedule needs. */
export interface ScheduleDeps {
  storage: Storage
  coordination: Pick<Coordination, 'reread'>
  /** Between the ends of two runs that succeeded, in ms, give or take a tenth. */
  every: () => number
  /** Resolves to whether the run succeeded; never rejects. */
  run: () => Promise<boolean>
  /** Called whenever the schedule computes its next time. */
  onWake: () => void
  clock?: Clock
  /** From 0 up to but without 1. */
  random?: () => number
}

/**
 * Runs something at intervals. A restart does not begin an interval anew, and jitter keeps nodes from running at once.
 */
export class Schedule {
  readonly #deps: ScheduleDeps
  readonly #clock: Clock
  readonly #started: number
  #state: ScheduleState | undefined
  #spread: number
  #failed: number | undefined
  #cancelTimer = () => {}
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(deps: ScheduleDeps) {
    this.#deps = deps
    this.#clock = deps.clock ?? systemClock
    this.#started = this.#clock.now()
    this.#spread = this.#newSpread()
  }

  /** When a run last succeeded, in ms since the epoch. */
  get succeeded(): number | undefined {
    return this.#state?.succeeded
  }

  /** Records a run that succeeded without having been started here. */
  async recordSuccess(): Promise<void> {
    this.#state = { began: this.#started, ...this.#state, succeeded: this.#clock.now() }
    this.#failed = undefined
    this.#spread = this.#newSpread()
    await this.#write()
  }

  /** Starts the schedule; resolves when its state is stored. */
  async start(): Promise<void> {
    const text = await this.#deps.storage.get(key).catch(() => undefined)
    this.#state = text && parse(text.toString())
    if (!this.#state) {
      this.#state = { began: this.#started }
      await this.#write()
    }
    this.#sleep()
  }

  #sleep(): void {
    if (this.#stopped) return
    this.#deps.onWake()
    const left = Math.max(0, this.#due() - this.#clock.now())
    this.#cancelTimer = this.#clock.after(Math.min(left, maxSleepMs), () => {
      this.#running = left > maxSleepMs ? Promise.resolve(this.#sleep()) : this.#run()
    })
  }

  #due(): number {
    const every = this.#deps.every()
    const { began, succeeded } = this.#state ?? { began: this.#started }
    const due = (succeeded ?? began) + every * this.#spread
    return Math.max(due, this.#started + Math.min(minDelayMs, every * jitter), (this.#failed ?? 0) + Math.min(retryMs, every))
  }

  async #run(): Promise<void> {
    if (this.#stopped) return
    if (await this.#succeededElsewhere()) return this.#sleep()
    if (await this.#deps.run()) await this.recordSuccess()
    else if (!(await this.#succeededElsewhere())) this.#failed = this.#clock.now()
    this.#sleep()
  }

  // In another process that shares the storage.
  async #succeededElsewhere(): Promise<boolean> {
    const state = parse(((await this.#deps.coordination.reread(key).catch(() => undefined)) ?? '').toString())
    if ((state?.succeeded ?? 0) <= (this.#state?.succeeded ?? 0)) return false
    this.#state = state
    this.#spread = this.#newSpread()
    return true
  }

  // A storage that takes no writes makes the next run come too early, and that is all.
  async #write(): Promise<void> {
    await this.#deps.storage.put(key, Buffer.from(JSON.stringify(this.#state))).catch(() => {})
  }

  #newSpread(): number {
    return 1 - jitter + 2 * jitter * (this.#deps.random ?? Math.random)()
  }

  /** Resolves when nothing runs any more; a run is ended by its own signal. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelTimer()
    await this.#running
  }
}

/**
 * Runs `task`, which never rejects, `ms` after its last run ended. The returned function ends that, and resolves when
 * the run under way has ended.
 */
export function startInterval(ms: number, task: () => Promise<void>, clock: Pick<Clock, 'after'> = systemClock): () => Promise<void> {
  let running = Promise.resolve()
  let stopped = false
  let cancelTimer = () => {}
  const wait = () => {
    if (stopped) return
    cancelTimer = clock.after(ms, () => {
      running = task().then(wait)
    })
  }
  wait()
  return () => {
    stopped = true
    cancelTimer()
    return running
  }
}

function parse(text: string): ScheduleState | undefined {
  try {
    const value = JSON.parse(text) as ScheduleState
    return typeof value.began === 'number' ? value : undefined
  } catch {
    return undefined
  }
}
