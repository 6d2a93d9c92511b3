import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { Operation, OperationFailed, RegistryContext } from '../operations/operation.ts'
import { requireBody } from './body.ts'
import { controlSender } from './control-user.ts'
import { type RecordOperation, recordedEvents } from './operation-record.ts'

// A platform has some thousand images; a reference has at most some hundred characters.
const maxBodyBytes = 16 * 1024 * 1024

/** Offers operations on the control socket. The request's body is the input; a client that leaves interrupts it. */
export function registerOperations(
  app: FastifyInstance,
  operations: readonly Operation[],
  context: RegistryContext,
  record: RecordOperation
): void {
  for (const operation of operations) {
    const { path, answer, input } = operation
    app.post(path, { bodyLimit: maxBodyBytes, preHandler: requireBody(input) }, async (request, reply) => {
      const body = request.body as object
      const run = operation.run(body, context, signalOf(reply.raw))
      const events = recordedEvents(operation, body, { events: run, record, sender: controlSender(request) })
      if (answer === 'document') return firstOf(events)
      return reply.type('application/x-ndjson').send(Readable.from(linesOf(events)))
    })
  }
}

function signalOf(response: ServerResponse): AbortSignal {
  const left = new AbortController()
  response.once('close', () => left.abort())
  return left.signal
}

async function firstOf(events: AsyncIterable<object>): Promise<object | undefined> {
  for await (const event of events) return event
  return undefined
}

async function* linesOf(events: AsyncIterable<object>): AsyncGenerator<string, void> {
  try {
    for await (const event of events) yield `${JSON.stringify(event)}\n`
  } catch (error) {
    // The head of the response was sent long ago, so the error is its last line.
    const { name, message } = error as Error
    yield `${JSON.stringify({ type: 'failed', name, message } satisfies OperationFailed)}\n`
  }
}
