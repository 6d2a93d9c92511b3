import type { KeyObject } from 'node:crypto'
import { parseIssuerKeys } from './keys.ts'

/** How the keys of another issuer are read, and what happens then. */
export interface RemoteKeysOptions {
  fetch: () => Promise<Buffer>
  refreshMs: number
  /** Milliseconds since the epoch. */
  now: () => number
  /** Keys were added or removed. */
  onChange: (keys: number) => void
  /** Called once per new reason. */
  onFault: (fault: unknown) => void
}

const none: ReadonlyMap<string, KeyObject> = new Map()

// A node starts, and pulls, while the API server is down. Keys that were removed meanwhile count no longer than this.
const maxAgeMs = 24 * 3_600_000
// Any client can send a token that names an unknown key.
const pauseMs = 15_000

/** The keys that another issuer publishes, read again and again. */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions
  #keys = none
  #readAt = Number.NEGATIVE_INFINITY
  #triedAt = Number.NEGATIVE_INFINITY
  #reading: Promise<void> | undefined
  #fault: string | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: RemoteKeysOptions) {
    this.#options = options
  }

  /** The keys by id; none before the first reading, and when the last good one is a day old. */
  get current(): ReadonlyMap<string, KeyObject> {
    return this.#options.now() - this.#readAt > maxAgeMs ? none : this.#keys
  }

  /** Reads regularly from now on; resolves after the first attempt, never rejects. */
  start(): Promise<void> {
    return this.#read()
  }

  /** Reads soon, unless that was tried a moment ago. */
  refresh(): void {
    if (!this.#stopped && this.#options.now() - this.#triedAt >= pauseMs) void this.#read()
  }

  /** Reads no more. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #read(): Promise<void> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #readOnce(): Promise<void> {
    const { fetch, refreshMs, now } = this.#options
    clearTimeout(this.#timer)
    this.#triedAt = now()
    let nextMs = refreshMs
    try {
      this.#take(parseIssuerKeys(await fetch()))
    } catch (fault) {
      nextMs = Math.min(refreshMs, pauseMs)
      this.#report(fault)
    }
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#read(), nextMs).unref()
  }

  #take(keys: ReadonlyMap<string, KeyObject>): void {
    if (this.#stopped) return
    const changed = keys.size !== this.#keys.size || [...keys].some(([id, key]) => !this.#keys.get(id)?.equals(key))
    this.#readAt = this.#options.now()
    this.#fault = undefined
    this.#keys = keys
    if (changed) this.#options.onChange(keys.size)
  }

  #report(fault: unknown): void {
    const reason = String(fault)
    if (!this.#stopped && reason !== this.#fault) this.#options.onFault(fault)
    this.#fault = reason
  }
}
