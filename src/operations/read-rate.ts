import { type Clock, systemClock } from '../../storage/clock.ts'

/** Waits until `bytes` more may be read; rejects when the signal is aborted. */
export type ReadRate = (bytes: number, signal: AbortSignal) => Promise<void>

/** As fast as the storage gives bytes. */
export const unlimited: ReadRate = async (_bytes, signal) => signal.throwIfAborted()

// Timers are not exact, and one for every read costs more than the read.
const minSleepMs = 20
// Before each read while requests are being answered, which come first.
const yieldMs = 20

/** At most `rate()` bytes a second, less while `busy`. Time spent waiting is not made up for. */
export function createReadRate(
  rate: () => number,
  busy: () => boolean,
  { now, sleep }: Pick<Clock, 'now' | 'sleep'> = systemClock
): ReadRate {
  let next = now()
  return async (bytes, signal) => {
    signal.throwIfAborted()
    next = Math.max(next, now()) + (bytes / rate()) * 1_000
    if (busy()) await sleep(yieldMs, signal)
    const waitMs = next - now()
    if (waitMs > minSleepMs) await sleep(waitMs, signal)
  }
}

const MIB = 1024 * 1024
const minRate = MIB
const maxRate = 64 * MIB

/**
 * Bytes a second that read `total` bytes within `everyMs`: never so slow that a small storage takes a month, never so
 * fast that pulls notice.
 */
export function rateFor(total: number, everyMs: number): number {
  return Math.min(maxRate, Math.max(minRate, (total / everyMs) * 1_000))
}
