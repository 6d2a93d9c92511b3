import { type Clock, systemClock } from '../../storage/clock.ts'
import type { Content } from '../content/content.ts'
import type { Logger } from '../telemetry/log.ts'
import { startInterval } from './schedule.ts'

const minIntervalMs = 250
const maxIntervalMs = 10 * 60_000

/** Cancels upload sessions that received nothing for `idleMs`, at intervals; the returned function ends that. */
export function startUploadExpiry(content: Content, idleMs: number, log: Logger, clock: Clock = systemClock): () => Promise<void> {
  const stopping = new AbortController()
  const expire = async () => {
    try {
      const expired = await content.uploads.expire(clock.now() - idleMs, stopping.signal)
      if (expired > 0) log.info({ expired, idle: idleMs }, 'idle upload sessions were removed')
    } catch (error) {
      log.error({ err: error }, 'idle upload sessions could not be removed')
    }
  }
  const stop = startInterval(Math.min(maxIntervalMs, Math.max(minIntervalMs, idleMs / 4)), expire, clock)
  return () => {
    stopping.abort()
    return stop()
  }
}
