import { createMutex } from '../../storage/keyed-mutex.ts'
import type { Content } from '../content/content.ts'
import type { Logger } from '../telemetry/log.ts'

const intervals = { least: 250, most: 10 * 60_000 }

/** Removes upload sessions that nobody wrote to for `idle` ms, from time to time; the returned function ends that. */
export function startUploadExpiry(content: Content, idle: number, log: Logger): () => Promise<void> {
  const stopped = new AbortController()
  const mutex = createMutex()
  const sweep = async () => {
    const expired = await content.uploads.expire(Date.now() - idle, stopped.signal)
    if (expired > 0) log.info({ expired, idle }, 'idle upload sessions were removed')
  }
  const interval = Math.min(intervals.most, Math.max(intervals.least, idle / 4))
  const timer = setInterval(() => {
    void mutex(sweep).catch(error => log.error({ err: error }, 'idle upload sessions could not be removed'))
  }, interval)
  timer.unref()
  return async () => {
    clearInterval(timer)
    stopped.abort()
    await mutex(async () => {})
  }
}
