import type { FastifyInstance } from 'fastify'
import type { Operation, RegistryContext } from '../operations/operation.ts'
import { requireBody } from './body.ts'
import { controlSender } from './control-user.ts'
import type { RecordOperation } from './operation-record.ts'
import { registerOperations } from './operations.ts'

/** What the control socket gives commands access to. */
export interface ControlDeps {
  status(): Promise<Record<string, unknown>>
  /** The levels that the log knows. */
  levels: readonly string[]
  setLevel(level: string): void
  operations: Readonly<Record<string, Operation>>
  context: RegistryContext
  /** Writes a line of the audit stream. */
  record: RecordOperation
}

/** Registers the routes of the control socket; `control-client.ts` is the other side. */
export function registerControl(app: FastifyInstance, { status, levels, setLevel, operations, context, record }: ControlDeps): void {
  registerOperations(app, Object.values(operations), context, record)
  app.get('/status', () => status())
  const level = { expected: `one of ${levels.join(', ')}`, accepts: (value: unknown) => levels.some(each => each === value) }
  app.put<{ Body: { level: string } }>('/log/level', { preHandler: requireBody({ level }) }, async request => {
    const { body } = request
    await record({ action: 'log-level', actor: 'local', ...controlSender(request), level: body.level })
    setLevel(body.level)
    return { level: body.level }
  })
}
