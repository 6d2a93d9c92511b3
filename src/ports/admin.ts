import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../telemetry/metrics.ts'

/** The state that the admin port reports; the checks reject with the reason. */
export interface Health {
  /** Resolves if reads can be served. */
  readable(): Promise<void>
  /** Resolves if pushes can be accepted. Absent where that is no question of its own. */
  writable?(): Promise<void>
  status(): Promise<Record<string, unknown>>
}

/** Registers the read-only endpoints for probes, Prometheus and people. */
export function registerAdmin(app: FastifyInstance, { health, metrics }: { health: Health; metrics: Metrics }): void {
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
  app.get('/status', () => health.status())
  app.get('/metrics', async (_request, reply) => reply.type(metrics.register.contentType).send(await metrics.register.metrics()))
}
