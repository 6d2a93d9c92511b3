import type { Storage } from '../../storage/storage.ts'

// The state of collections, beside what is stored.
const key = '.registry/gc'
const jitter = 0.1
const soonest = 5 * 60_000
const retry = 3_600_000
// Settings may have changed meanwhile; a timer cannot be set for longer than 24 days either.
const longestSleep = 10 * 60_000

interface State {
  /** ms since the epoch, like all of them. */
  began: number
  succeeded?: number
}

/** What a schedule needs. */
export interface ScheduleDeps {
  storage: Storage
  /** ms between the ends of two runs that succeeded, give or take a tenth. */
  every: () => number
  /** Resolves to whether it succeeded; never rejects. */
  run: () => Promise<boolean>
  /** Called whenever the time is looked at. */
  onWake: () => void
  clock?: Time
}

/** The clock, and how something is done after so many ms; the function that it gives calls that off. */
export interface Time {
  now(): number
  after(ms: number, task: () => void): () => void
  /** From 0 up to but without 1. */
  random(): number
}

const usualTime: Time = {
  now: Date.now,
  after: (ms, task) => {
    const timer = setTimeout(task, ms).unref()
    return () => clearTimeout(timer)
  },
  random: Math.random
}

/** Runs something from time to time, where restarts neither begin the time anew nor make all nodes run at once. */
export class Schedule {
  readonly #parts: ScheduleDeps
  readonly #time: Time
  readonly #started: number
  #state: State | undefined
  #spread: number
  #failed: number | undefined
  #callOff = () => {}
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(parts: ScheduleDeps) {
    this.#parts = parts
    this.#time = parts.clock ?? usualTime
    this.#started = this.#time.now()
    this.#spread = spread(this.#time)
  }

  /** When a run last succeeded, in ms since the epoch. */
  get succeeded(): number | undefined {
    return this.#state?.succeeded
  }

  /** A run succeeded that was not begun here. */
  async recordSuccess(): Promise<void> {
    this.#state = { began: this.#started, ...this.#state, succeeded: this.#time.now() }
    this.#failed = undefined
    this.#spread = spread(this.#time)
    await this.#write()
  }

  /** Begins; resolves when the beginning is written down. */
  async start(): Promise<void> {
    const text = await this.#parts.storage.get(key).catch(() => undefined)
    this.#state = text && parse(text.toString())
    if (!this.#state) {
      this.#state = { began: this.#started }
      await this.#write()
    }
    this.#sleep()
  }

  #sleep(): void {
    if (this.#stopped) return
    this.#parts.onWake()
    const left = Math.max(0, this.#due() - this.#time.now())
    this.#callOff = this.#time.after(Math.min(left, longestSleep), () => {
      this.#running = left > longestSleep ? Promise.resolve(this.#sleep()) : this.#run()
    })
  }

  #due(): number {
    const every = this.#parts.every()
    const { began, succeeded } = this.#state ?? { began: this.#started }
    const due = (succeeded ?? began) + every * this.#spread
    return Math.max(due, this.#started + Math.min(soonest, every * jitter), (this.#failed ?? 0) + Math.min(retry, every))
  }

  async #run(): Promise<void> {
    if (this.#stopped) return
    if (await this.#ranElsewhere()) return this.#sleep()
    if (await this.#parts.run()) await this.recordSuccess()
    else if (!(await this.#ranElsewhere())) this.#failed = this.#time.now()
    this.#sleep()
  }

  // By another process that has the same storage.
  async #ranElsewhere(): Promise<boolean> {
    if (this.#parts.storage.sharing === 'alone') return false
    const now = parse(((await this.#parts.storage.get(key).catch(() => undefined)) ?? '').toString())
    if ((now?.succeeded ?? 0) <= (this.#state?.succeeded ?? 0)) return false
    this.#state = now
    this.#spread = spread(this.#time)
    return true
  }

  // A medium that takes nothing makes the next run come too early, and that is all.
  async #write(): Promise<void> {
    await this.#parts.storage.put(key, Buffer.from(JSON.stringify(this.#state))).catch(() => {})
  }

  /** Resolves when nothing runs any more; what runs is ended by its own signal. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#callOff()
    await this.#running
  }
}

function spread({ random }: Time): number {
  return 1 - jitter + 2 * jitter * random()
}

function parse(text: string): State | undefined {
  try {
    const value = JSON.parse(text) as State
    return typeof value.began === 'number' ? value : undefined
  } catch {
    return undefined
  }
}
