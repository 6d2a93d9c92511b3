import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

/** The end of a fill. */
interface FillEvent {
  digest: string
  upstream: string
  result: 'stored' | 'wrong' | 'broken' | 'medium' | 'full'
  bytes: number
  ms: number
  error?: Error
}

const phrases = {
  stored: 'a blob was cached',
  wrong: 'upstream sent wrong bytes for a blob; nothing was stored',
  broken: 'a blob could not be downloaded; nothing was stored',
  medium: 'a blob could not be stored; clients get it from upstream',
  full: 'there is no capacity for a blob; clients get it from upstream'
}

/** Logs and counts a fill that ended. */
export function logFill({ digest, upstream, result, bytes, ms, error }: FillEvent, metrics: Metrics, log: Logger): void {
  metrics.fills.inc({ result })
  metrics.fillBytes.inc({ result }, bytes)
  const line = { digest, upstream, bytes, ms, ...(error ? { reason: error.message } : {}) }
  if (result === 'stored') log.info(line, phrases.stored)
  else if (result === 'full') log.warn(line, phrases.full)
  else log.error(line, phrases[result])
}

/** An event of the connection to an upstream. */
type UpstreamEvent =
  | { type: 'answer'; endpoint: string; resource: string; status: number }
  | { type: 'failure'; endpoint: string; resource: string; error: Error }
  | { type: 'body'; endpoint: string; bytes: number; result: string }
  | { type: 'resume'; endpoint: string; offset: number }
  | { type: 'hedge'; endpoint: string; resource: string }
  | { type: 'wrong'; endpoint: string; path: string }
  | { type: 'probe'; endpoint: string; result: string }
  | { type: 'breaker'; endpoint: string; resource: string; scope: string; until: number }
  | { type: 'token'; endpoint: string; result: string }

/** Counts upstream events, and logs those that an operator may have to act on. */
export function observeUpstream(metrics: Metrics, log: Logger): (event: UpstreamEvent) => void {
  return event => {
    const { endpoint } = event
    switch (event.type) {
      case 'answer':
        metrics.upstreamRequests.inc({ endpoint, asked: event.resource, result: String(event.status) })
        break
      case 'failure':
        metrics.upstreamRequests.inc({ endpoint, asked: event.resource, result: 'error' })
        log.warn({ endpoint, asked: event.resource, reason: event.error.message }, 'upstream request failed')
        break
      case 'body':
        metrics.upstreamBytes.inc({ endpoint, result: event.result }, event.bytes)
        break
      case 'resume':
        metrics.upstreamResumes.inc({ endpoint })
        log.info({ endpoint, offset: event.offset }, 'an interrupted download is resumed')
        break
      case 'hedge':
        metrics.upstreamHedges.inc({ endpoint })
        break
      case 'wrong':
        log.error({ endpoint, path: event.path }, 'upstream sent wrong bytes for a blob; the response was cut off')
        break
      case 'probe':
        metrics.upstreamProbes.inc({ endpoint, result: event.result })
        break
      case 'breaker':
        metrics.upstreamBreaker.set({ endpoint }, event.until / 1000)
        log.warn(
          { endpoint, asked: event.resource, scope: event.scope, until: new Date(event.until).toISOString() },
          'upstream asked for a pause: such requests to it are refused until then'
        )
        break
      case 'token':
        metrics.upstreamTokens.inc({ endpoint, result: event.result })
    }
  }
}
