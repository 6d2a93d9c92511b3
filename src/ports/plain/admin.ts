import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Health } from '../admin.ts'

interface AdminAnswer {
  status: number
  type: string
  body: string
}

/** Answers the read-only endpoints for probes, Prometheus and people, as `registerAdmin` does. */
export function answerAdmin(deps: {
  health: Omit<Health, 'writable'>
  metrics: Metrics
}): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) =>
    void answerTo(request, deps)
      .catch(error => json(500, { status: 'failed', reason: (error as Error).message }))
      .then(({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
        response.end(body)
      })
}

async function answerTo(
  { method, url = '' }: IncomingMessage,
  { health, metrics }: { health: Omit<Health, 'writable'>; metrics: Metrics }
): Promise<AdminAnswer> {
  switch (method === 'GET' && url.split('?', 1)[0]) {
    case '/livez':
      return json(200, { status: 'ok' })
    case '/readyz':
      return health.readable().then(
        () => json(200, { status: 'ok' }),
        error => json(503, { status: 'unavailable', reason: (error as Error).message })
      )
    case '/status':
      return json(200, await health.status())
    case '/metrics':
      return { status: 200, type: metrics.register.contentType, body: await metrics.register.metrics() }
    default:
      return json(404, { status: 'unknown', reason: 'GET /livez, /readyz, /metrics or /status' })
  }
}

function json(status: number, value: object): AdminAnswer {
  return { status, type: 'application/json; charset=utf-8', body: JSON.stringify(value) }
}
