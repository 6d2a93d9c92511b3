import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

interface Removal {
  kind: string
  name?: string
  digest?: string
  tag?: string
  bytes?: number
  reason: string
}

interface Done {
  marked: number
  removed: Record<string, number>
  bytes: number
  ms: number
}

/** Counts a removed object, and logs it at debug level. */
export function countRemoval({ kind, name, digest, tag, bytes = 0, reason }: Removal, metrics: Metrics, log: Logger): void {
  metrics.removed.inc({ kind, reason })
  if (bytes > 0) metrics.freed.inc({ reason }, bytes)
  if (reason === 'expired' || reason === 'room') metrics.evictions.inc({ reason, kind })
  log.debug({ kind, name, digest, tag, bytes, reason }, 'removed')
}

/** Logs and counts a garbage collection that ended. */
export function logGcRun(end: Done | Error, metrics: Metrics, log: Logger, signal?: AbortSignal): void {
  if (!(end instanceof Error)) {
    metrics.gcRuns.inc({ result: 'done' })
    const { marked, removed, bytes, ms } = end
    log.info({ marked, removed, bytes, ms }, 'garbage collection is done')
  } else if (signal?.aborted) {
    metrics.gcRuns.inc({ result: 'stopped' })
    log.info('garbage collection was stopped; the next one continues')
  } else {
    metrics.gcRuns.inc({ result: 'failed' })
    log.error(
      { err: end },
      'garbage collection failed: what it could not read may be referenced, so nothing more is removed; it is retried later'
    )
  }
}
