import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createMutex } from './keyed-mutex.ts'
import type { ConditionalObjects, Key } from './storage.ts'

/** What a lease goes by, in ms. */
export interface LeaseTimes {
  /** How long it lasts without being renewed. */
  ttlMs: number
  /** Where the medium knows no conditions: longer than a small put takes. */
  settleMs: number
}

/** What others see of a lease. */
export interface ObservedLease {
  version: string
  held: boolean
  announced: readonly string[]
}

interface Content {
  owner: string
  /** Counts what was put, so that the owner knows his own. */
  turn: number
  lasts: number
  said: readonly string[]
}

const defaultTimes: LeaseTimes = { ttlMs: 60_000, settleMs: 10_000 }
// What is left of a lease that was not renewed is too little to begin anything.
const spare = 0.25
// Times of objects are told in seconds.
const coarse = 1_000

/** Somebody else has the lease now. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}

/**
 * Takes the lease under `key`; undefined while somebody else has it. One that was not renewed in time, by the clock of the medium, is taken over. Without conditional
 * puts it is put, and looked at after a while: of those who put at the same time only the last one has it.
 */
export async function acquireLease(agreement: ConditionalObjects, key: Key, times: LeaseTimes = defaultTimes): Promise<Lease | undefined> {
  const seen = await agreement.get(key)
  const before = seen && parse(seen.bytes)
  if (seen && before && before.lasts > 0 && (await agreement.now()) < seen.modified + before.lasts + coarse) return undefined
  const lease = new Lease(agreement, key, times, seen?.version)
  return (await lease.acquire()) ? lease : undefined
}

/** What can be seen of the lease under `key`. */
export async function observeLease(agreement: ConditionalObjects, key: Key): Promise<ObservedLease | undefined> {
  const seen = await agreement.get(key)
  const { lasts = 0, said = [] } = (seen && parse(seen.bytes)) ?? {}
  return seen && { version: seen.version, held: lasts > 0, announced: said }
}

/** The right to do what only one process does at a time; renewed until it is released. */
export class Lease {
  /** Aborted when it is not ours any more. */
  readonly signal: AbortSignal
  readonly #agreement: ConditionalObjects
  readonly #key: Key
  readonly #times: LeaseTimes
  readonly #owner = randomUUID()
  readonly #lost = new AbortController()
  #version: string | undefined
  #turn = 0
  #said: readonly string[] = []
  #until = 0
  #timer: NodeJS.Timeout | undefined
  #late: NodeJS.Timeout | undefined
  readonly #mutex = createMutex()

  /** `version` is what was seen under `key`. */
  constructor(agreement: ConditionalObjects, key: Key, times: LeaseTimes, version: string | undefined) {
    this.#agreement = agreement
    this.#key = key
    this.#times = times
    this.#version = version
    this.signal = this.#lost.signal
  }

  /** Resolves to whether it is ours. */
  async acquire(): Promise<boolean> {
    if (!(await this.#put(this.#times.ttlMs))) return false
    if (!(await this.#agreement.isReplaceAtomic())) {
      await delay(this.#times.settleMs)
      if (!(await this.#mine())) return false
    }
    this.#timer = setInterval(() => void this.#renew(), this.#times.ttlMs / 4).unref()
    return true
  }

  /** Rejects unless it is ours for a while yet. */
  check(): void {
    this.signal.throwIfAborted()
    if (performance.now() > this.#until) this.#end('the lease could not be renewed in time')
    this.signal.throwIfAborted()
  }

  /** Lets others see `said` in place of what was said before; they can when it resolves. Rejects if it is not ours any more. */
  announce(said: readonly string[]): Promise<void> {
    return this.#next(() => {
      this.#said = said
    })
  }

  // One put after another, each with what was said last when its turn comes.
  #next(change: () => void): Promise<void> {
    return this.#mutex(async () => {
      this.check()
      change()
      if (!(await this.#put(this.#times.ttlMs))) this.#end('another process has the lease')
      this.check()
    })
  }

  // What the service did not take is tried again until it is too late.
  async #renew(): Promise<void> {
    await this.#next(() => {}).catch(() => {})
  }

  #end(reason: string): void {
    clearInterval(this.#timer)
    clearTimeout(this.#late)
    this.#lost.abort(new LeaseLostError(`${reason}: ${this.#key}`))
  }

  async #put(lasts: number): Promise<boolean> {
    const began = performance.now()
    this.#turn++
    const content: Content = { owner: this.#owner, turn: this.#turn, lasts, said: this.#said }
    const version = await this.#agreement.replace(this.#key, Buffer.from(JSON.stringify(content)), this.#version)
    if (version !== undefined) this.#version = version
    // A put of which the answer was lost is refused when it is repeated.
    else if (!(await this.#mine())) return false
    this.#until = began + this.#times.ttlMs * (1 - spare)
    clearTimeout(this.#late)
    this.#late = setTimeout(() => this.#end('the lease could not be renewed in time'), this.#until - performance.now()).unref()
    return true
  }

  async #mine(): Promise<boolean> {
    const seen = await this.#agreement.get(this.#key)
    const found = seen && parse(seen.bytes)
    if (!seen || found?.owner !== this.#owner || found.turn !== this.#turn) return false
    this.#version = seen.version
    return true
  }

  /** Lets others have it at once. */
  async release(): Promise<void> {
    clearInterval(this.#timer)
    await this.#mutex(async () => {})
    if (this.signal.aborted) return
    this.#said = []
    // It ends by itself otherwise.
    await this.#put(0).catch(() => {})
    this.#end('the lease was released')
  }

  /** Lets it end by itself: what was begun may still take effect meanwhile. */
  abandon(): void {
    this.#end('the lease was left')
  }
}

function parse(bytes: Buffer): Content | undefined {
  try {
    const value = JSON.parse(bytes.toString()) as Content
    return typeof value.owner === 'string' && typeof value.lasts === 'number' && Array.isArray(value.said) ? value : undefined
  } catch {
    return undefined
  }
}
