import { randomUUID } from 'node:crypto'
import { type Clock, systemClock } from './clock.ts'
import { createMutex } from './keyed-mutex.ts'
import type { ConditionalObjects, Key } from './storage.ts'

/** Durations of a lease. */
export interface LeaseTimes {
  /** How long it lasts unless renewed. */
  ttlMs: number
  /**
   * How long to wait after a put before reading it back, where puts are not conditional: longer than a small put takes.
   */
  settleMs: number
}

/** What other processes see of a lease. */
export interface ObservedLease {
  version: string
  held: boolean
  announced: readonly string[]
}

// The stored object. Its field names are part of the format.
interface Content {
  owner: string
  /** Counts the puts, so that the owner recognises its own. */
  turn: number
  /** TTL in ms; 0 once released. */
  lasts: number
  /** What the owner announced. */
  said: readonly string[]
}

const defaultTimes: LeaseTimes = { ttlMs: 60_000, settleMs: 10_000 }
// The last quarter of the TTL is too short to begin anything in.
const safetyMargin = 0.25
// Object times have a resolution of one second.
const objectTimeResolutionMs = 1_000

/** Another process has the lease, or it expired or was given up. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}

/**
 * Acquires the lease under `key`; undefined while another process has it. A lease that was not renewed in time, by the
 * clock of the storage, is taken over. Where puts are not conditional, the lease is put and read back after
 * `settleMs`: of several puts at once only the last one holds.
 */
export async function acquireLease(
  objects: ConditionalObjects,
  key: Key,
  times: LeaseTimes = defaultTimes,
  clock: Clock = systemClock
): Promise<Lease | undefined> {
  const found = await objects.get(key)
  const content = found && parse(found.bytes)
  if (found && content && content.lasts > 0) {
    const expires = found.modified + content.lasts + objectTimeResolutionMs
    if ((await objects.now()) < expires) return undefined
  }
  const lease = new Lease({ objects, key, times, clock }, found?.version)
  return (await lease.acquire()) ? lease : undefined
}

/** What is visible of the lease under `key`. */
export async function observeLease(objects: ConditionalObjects, key: Key): Promise<ObservedLease | undefined> {
  const found = await objects.get(key)
  const { lasts = 0, said = [] } = (found && parse(found.bytes)) ?? {}
  return found && { version: found.version, held: lasts > 0, announced: said }
}

interface LeaseDeps {
  objects: ConditionalObjects
  key: Key
  times: LeaseTimes
  clock: Clock
}

/** A lease of this process, renewed until it is released. */
export class Lease {
  /** Aborted with a LeaseLostError when the lease has ended. */
  readonly signal: AbortSignal
  readonly #deps: LeaseDeps
  readonly #owner = randomUUID()
  readonly #lost = new AbortController()
  #version: string | undefined
  #puts = 0
  #announced: readonly string[] = []
  /** By the monotonic clock. */
  #validUntil = 0
  #cancelRenewal = () => {}
  #cancelExpiry = () => {}
  readonly #mutex = createMutex()

  /** `version` is that of the object found under the key. */
  constructor(deps: LeaseDeps, version: string | undefined) {
    this.#deps = deps
    this.#version = version
    this.signal = this.#lost.signal
  }

  /** Resolves to whether this process got it. */
  async acquire(): Promise<boolean> {
    const { objects, times, clock } = this.#deps
    if (!(await this.#put(times.ttlMs))) return false
    if (!(await objects.isReplaceAtomic())) {
      await clock.sleep(times.settleMs)
      if (!(await this.#readBack())) return false
    }
    this.#scheduleRenewal()
    return true
  }

  /** Throws a LeaseLostError unless the lease stays valid for a while. */
  check(): void {
    this.signal.throwIfAborted()
    if (this.#deps.clock.monotonic() > this.#validUntil) this.#end('the lease could not be renewed in time')
    this.signal.throwIfAborted()
  }

  /** Replaces what other processes see as announced; visible to them when it resolves. Rejects if the lease is lost. */
  announce(announced: readonly string[]): Promise<void> {
    return this.#update(() => {
      this.#announced = announced
    })
  }

  // One put at a time, each with the latest announcement.
  #update(change: () => void): Promise<void> {
    return this.#mutex(async () => {
      this.check()
      change()
      if (!(await this.#put(this.#deps.times.ttlMs))) this.#end('another process has the lease')
      this.check()
    })
  }

  // A renewal that fails is repeated until the lease expires.
  #scheduleRenewal(): void {
    if (this.signal.aborted) return
    const { clock, times } = this.#deps
    this.#cancelRenewal = clock.after(times.ttlMs / 4, () => {
      void this.#update(() => {}).catch(() => {})
      this.#scheduleRenewal()
    })
  }

  #end(reason: string): void {
    this.#cancelRenewal()
    this.#cancelExpiry()
    this.#lost.abort(new LeaseLostError(`${reason}: ${this.#deps.key}`))
  }

  async #put(ttlMs: number): Promise<boolean> {
    const { objects, key, times, clock } = this.#deps
    const began = clock.monotonic()
    this.#puts++
    const content: Content = { owner: this.#owner, turn: this.#puts, lasts: ttlMs, said: this.#announced }
    const version = await objects.replace(key, Buffer.from(JSON.stringify(content)), this.#version)
    if (version !== undefined) this.#version = version
    // A put whose response was lost is refused when it is repeated.
    else if (!(await this.#readBack())) return false
    this.#validUntil = began + times.ttlMs * (1 - safetyMargin)
    this.#cancelExpiry()
    this.#cancelExpiry = clock.after(this.#validUntil - clock.monotonic(), () => this.#end('the lease could not be renewed in time'))
    return true
  }

  // Whether the last put is what is stored.
  async #readBack(): Promise<boolean> {
    const { objects, key } = this.#deps
    const found = await objects.get(key)
    const content = found && parse(found.bytes)
    if (!found || content?.owner !== this.#owner || content.turn !== this.#puts) return false
    this.#version = found.version
    return true
  }

  /** Frees the lease for other processes at once. */
  async release(): Promise<void> {
    this.#cancelRenewal()
    await this.#mutex(async () => {})
    if (this.signal.aborted) return
    this.#announced = []
    // If this fails the lease expires.
    await this.#put(0).catch(() => {})
    this.#end('the lease was released')
  }

  /** Stops renewing and lets the lease expire: what was begun may still take effect meanwhile. */
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
