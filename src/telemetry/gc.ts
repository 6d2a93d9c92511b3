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

/** The counters for something that was removed, and a line for whoever looks closely. */
export function countRemoval({ kind, name, digest, tag, bytes = 0, reason }: Removal, metrics: Metrics, log: Logger): void {
  metrics.removed.inc({ kind, reason })
  if (bytes > 0) metrics.freed.inc({ reason }, bytes)
  if (reason === 'expired' || reason === 'room') metrics.evictions.inc({ reason, kind })
  log.debug({ kind, name, digest, tag, bytes, reason }, 'removed')
}

/** One line and the counters for a collection that ended, one way or another. */
export function logGcRun(end: Done | Error, metrics: Metrics, log: Logger, signal?: AbortSignal): void {
  if (!(end instanceof Error)) {
    metrics.gcRuns.inc({ result: 'done' })
    const { marked, removed, bytes, ms } = end
    log.info({ marked, removed, bytes, ms }, 'what nothing needs was removed')
  } else if (signal?.aborted) {
    metrics.gcRuns.inc({ result: 'stopped' })
    log.info('a collection was ended early; the next one goes on')
  } else {
    metrics.gcRuns.inc({ result: 'failed' })
    log.error(
      { err: end },
      'a collection failed: what it could not read may be needed, so nothing more is removed; it is tried again later'
    )
  }
}
