import type { Clock } from '../../storage/clock.ts'

/** Numbers that follow from a seed. */
export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  happens(probability: number): boolean {
    return this.next() < probability
  }

  of<T>(all: readonly T[]): T {
    if (all.length === 0) throw new Error('one of nothing')
    return all[this.between(0, all.length - 1)] as T
  }
}

interface Due {
  at: number
  order: number
  task: (() => void) | undefined
}

/** The time of a simulation: it stands still while anything runs, and then leaps to what is due next. */
export class World {
  readonly chance: Chance
  readonly start = Date.UTC(2026, 0, 1)
  #now = 0
  #order = 0
  readonly #heap: Due[] = []

  constructor(seed: number) {
    this.chance = new Chance(seed)
  }

  /** Milliseconds since the simulation began. */
  get now(): number {
    return this.#now
  }

  /** Runs `task` after `ms`, unless the returned function is called before. */
  after(ms: number, task: () => void): () => void {
    const due: Due = { at: this.#now + Math.max(0, ms), order: this.#order++, task }
    this.#push(due)
    return () => {
      due.task = undefined
    }
  }

  /** Runs what is due until `untilMs`, one after the other. */
  async run(untilMs: number): Promise<void> {
    for (let next = this.#heap[0]; next && next.at <= untilMs; next = this.#heap[0]) {
      this.#pop()
      if (!next.task) continue
      this.#now = next.at
      next.task()
      // What was woken runs to where it waits again.
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#now = untilMs
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.push(due) - 1
    for (let above = (at - 1) >> 1; at > 0 && isBefore(due, heap[above] as Due); above = (at - 1) >> 1) {
      heap[at] = heap[above] as Due
      at = above
    }
    heap[at] = due
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Due
    if (heap.length === 0) return
    let at = 0
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Due, heap[child] as Due)) child++
      if (!isBefore(heap[child] as Due, last)) break
      heap[at] = heap[child] as Due
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** One run of a process: what it waits for never comes once it has died. */
export class Life {
  readonly #world: World
  #alive = true
  /** What reaches the disk, or does not, when the process dies meanwhile. */
  readonly #underway = new Set<() => void>()

  constructor(world: World) {
    this.#world = world
  }

  get alive(): boolean {
    return this.#alive
  }

  /** Ends the process. Each write under way has reached the disk or not. */
  end(): void {
    this.#alive = false
    for (const effect of this.#underway) if (this.#world.chance.happens(0.5)) effect()
    this.#underway.clear()
  }

  /** Resolves after `ms` if the process still runs then, and never otherwise. */
  wait(ms: number): Promise<void> {
    return new Promise(resolve => void this.#world.after(ms, () => this.#alive && resolve()))
  }

  /** A write to the disk that takes `ms`. */
  async write<T>(ms: number, effect: () => T): Promise<T> {
    let result: { value: T } | undefined
    const once = () => {
      result ??= { value: effect() }
    }
    this.#underway.add(once)
    await this.wait(ms)
    this.#underway.delete(once)
    once()
    return (result as unknown as { value: T }).value
  }

  /** The clock of the process; the wall clock is `aheadMs` ahead. */
  clock(aheadMs: () => number): Clock {
    const world = this.#world
    const after = (ms: number, task: () => void) => world.after(ms, () => this.#alive && task())
    return {
      now: () => world.start + world.now + aheadMs(),
      monotonic: () => world.now,
      after,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason)
          const abort = () => {
            cancel()
            reject(signal?.reason)
          }
          const cancel = after(ms, () => {
            signal?.removeEventListener('abort', abort)
            resolve()
          })
          signal?.addEventListener('abort', abort)
        })
    }
  }
}
