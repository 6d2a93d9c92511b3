import { setTimeout as delay } from 'node:timers/promises'

/** Waits until `bytes` more may be read; rejects when the signal is aborted. */
export type ReadRate = (bytes: number, signal: AbortSignal) => Promise<void>

/** What tests change. */
export interface ScrubClock {
  now: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

/** The clock of the machine. */
export const systemClock: ScrubClock = {
  now: Date.now,
  sleep: async (ms, signal) => void (await delay(ms, undefined, { signal, ref: false }))
}

/** As fast as the disk gives, one piece after the other. */
export const unlimited: ReadRate = async (_bytes, signal) => signal.throwIfAborted()

// Timers are not exact, and one that is set for every piece costs more than the piece.
const shortest = 20
// While requests are answered each piece waits for so long, in ms: they come first.
const courtesy = 20

/** At most `rate()` bytes a second, less while `busy`; what was not used while it waited for others is not made up for. */
export function createReadRate(rate: () => number, busy: () => boolean, { now, sleep }: ScrubClock = systemClock): ReadRate {
  let next = now()
  return async (bytes, signal) => {
    signal.throwIfAborted()
    next = Math.max(next, now()) + (bytes / rate()) * 1_000
    if (busy()) await sleep(courtesy, signal)
    const wait = next - now()
    if (wait > shortest) await sleep(wait, signal)
  }
}

const MIB = 1024 * 1024
const slowest = MIB
const fastest = 64 * MIB

/** Bytes a second by which `total` bytes are read within `every` ms: never so slow that a small store takes a month, never so fast that pulls notice. */
export function rateFor(total: number, every: number): number {
  return Math.min(fastest, Math.max(slowest, (total / every) * 1_000))
}
