import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { OciError } from '../oci/errors.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** The state that the admin port reports; the checks reject with the reason. */
export interface Health {
  /** Resolves if reads can be served. */
  readable(): Promise<void>
  /** Resolves if pushes can be accepted. Absent where that is no question of its own. */
  writable?(): Promise<void>
  status(): Promise<Record<string, unknown>>
}

/** What the endpoints of the admin port need. */
export interface AdminDeps {
  health: Health
  metrics: Metrics
  /** Rejects with an OciError unless the sender may read metrics and status; absent where everyone may. */
  authorize?: (request: IncomingMessage, id: string) => Promise<void>
}

/**
 * Registers the read-only endpoints for probes, Prometheus and people. Probes are open to all: the kubelet can send no
 * secret.
 */
export function registerAdmin(app: FastifyInstance, { health, metrics, authorize }: AdminDeps): void {
  app.get('/livez', async () => ({ status: 'ok' }))
  const probe = (path: string, check: () => Promise<void>) =>
    app.get(path, async (_request, reply) => {
      try {
        await check()
        return { status: 'ok' }
      } catch (error) {
        return reply.status(503).send({ status: 'unavailable', reason: (error as Error).message })
      }
    })
  probe('/readyz', () => health.readable())
  const { writable } = health
  if (writable) probe('/readyz/write', writable)
  app.setErrorHandler(async (error, _request, reply) => {
    if (!(error instanceof OciError)) throw error
    for (const [name, value] of Object.entries(error.headers)) reply.header(name, value)
    return await reply.status(error.status).send(error.toJSON())
  })
  const guarded = authorize ? { onRequest: ({ raw, id }: { raw: IncomingMessage; id: string }) => authorize(raw, id) } : {}
  app.get('/status', guarded, () => health.status())
  app.get('/metrics', guarded, async (_request, reply) => reply.type(metrics.register.contentType).send(await metrics.register.metrics()))
}
