import { once } from 'node:events'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import type { CommandContext } from '../../../src/commands/run-operation.ts'
import { eventsOf } from '../../../src/commands/run-operation.ts'
import type { Operation, RegistryContext } from '../../../src/operations/operation.ts'
import { operations } from '../../../src/operations/operations.ts'
import { createApp } from '../../../src/ports/app.ts'
import { streamControl } from '../../../src/ports/control-client.ts'
import { createPort, drain } from '../../../src/ports/listen.ts'
import { registerOperations } from '../../../src/ports/operations.ts'
import { configured, folder } from '../support.ts'

const registryContext = {} as RegistryContext

/** A control socket that offers one operation, and the context of a command that finds it. */
async function offered(t: Test, operation: Operation): Promise<CommandContext> {
  const socket = join(folder(t), 'c.sock')
  const app = createApp(listener => createPort(listener, undefined, { maxConnections: 8, headTimeoutMs: 10_000 }))
  registerOperations(app, [operation], registryContext, async () => {})
  await app.ready()
  app.server.listen(socket)
  await once(app.server, 'listening')
  t.teardown(() => drain(app.server, 0))
  return {
    config: configured(t, { server: { control: socket } }),
    operations,
    openOffline: () => Promise.reject(new Error('a registry is running')),
    output: { form: 'json', print: () => {} },
    signal: new AbortController().signal
  }
}

/** An operation that yields `events`, and then fails if an error is given. */
function yielding(answer: 'events' | 'document', events: readonly object[], error?: Error): Operation {
  return {
    needs: 'registry',
    path: '/test',
    answer,
    input: {},
    async *run(input, context) {
      if (context !== registryContext) throw new Error('the context is another one')
      yield* events
      yield input
      if (error) throw error
    }
  }
}

test('operations: a command gets the events that the registry yields, and the operation gets its input', async t => {
  const operation = yielding('events', [{ type: 'a' }, { type: 'b', of: ['x', null, 1] }])
  const context = await offered(t, operation)
  t.strictSame(await Array.fromAsync(eventsOf(operation, { name: 'n' }, context)), [
    { type: 'a' },
    { type: 'b', of: ['x', null, 1] },
    { name: 'n' }
  ])
})

test('operations: an error keeps its kind and its message across the socket, after the events before it', async t => {
  const operation = yielding('events', [{ type: 'a' }], Object.assign(new Error('four objects were pushed'), { name: 'PushedContent' }))
  const context = await offered(t, operation)
  const events: object[] = []
  const consumed = (async () => {
    for await (const event of eventsOf(operation, {}, context)) events.push(event)
  })()
  await t.rejects(consumed, { name: 'PushedContent', message: 'four objects were pushed' })
  t.strictSame(events, [{ type: 'a' }, {}])
})

test('operations: a document is the first event, and its error is that of the response', async t => {
  const operation = yielding('document', [{ works: true }])
  const context = await offered(t, operation)
  t.strictSame(await Array.fromAsync(eventsOf(operation, {}, context)), [{ works: true }])
  const failing: Operation = {
    ...operation,
    // biome-ignore lint/correctness/useYield: it fails before its first event
    async *run() {
      throw new Error('no report')
    }
  }
  await t.rejects(Array.fromAsync(eventsOf(failing, {}, await offered(t, failing))), { message: 'no report' })
})

test('operations: a client that leaves interrupts the operation', async t => {
  const interrupted = Promise.withResolvers<void>()
  const operation: Operation = {
    ...yielding('events', []),
    async *run(_input: object, _context: RegistryContext, signal: AbortSignal) {
      signal.addEventListener('abort', () => interrupted.resolve())
      yield { type: 'begun' }
      await interrupted.promise
    }
  }
  const context = await offered(t, operation)
  for await (const event of eventsOf(operation, {}, context)) {
    t.strictSame(event, { type: 'begun' })
    break
  }
  await interrupted.promise
  t.pass('its signal was aborted')
})

const wrongInputs: [name: keyof typeof operations, input: Record<string, unknown>, member: RegExp][] = [
  ['gc', {}, /^dryRun: expected true or false$/],
  ['gc', { dryRun: 'yes' }, /^dryRun/],
  ['scrub', { name: 5 }, /^name: expected nothing, or a string/],
  ['scrub', { name: 'n'.repeat(1025) }, /^name/],
  ['purge', { pushed: 'refused' }, /^target/],
  ['purge', { target: 'a', pushed: 'some' }, /^pushed: expected one of refused, included$/],
  ['prefetch', { references: 'a', platforms: [], atOnce: 4 }, /^references: expected an array/],
  ['prefetch', { references: [], platforms: [null], atOnce: 4 }, /^platforms/],
  ['prefetch', { references: [], platforms: [], atOnce: 65 }, /^atOnce: expected a whole number from 1 to 64$/],
  ['prefetch', { references: [], platforms: [], atOnce: 1.5 }, /^atOnce/],
  ['why', { reference: 'r', depth: 'deep' }, /^depth: expected one of size, digest$/],
  ['verify', { references: ['r'.repeat(1025)], depth: 'size' }, /^references/]
]
for (const [name, body, message] of wrongInputs) {
  test(`operations: ${name} is refused before it runs: ${JSON.stringify(body).slice(0, 60)}`, async t => {
    let ran = false
    const operation: Operation = {
      ...(operations[name] as Operation),
      needs: 'registry',
      async *run() {
        ran = true
        yield {}
      }
    }
    const { config } = await offered(t, operation)
    const call = { method: 'POST', path: operation.path, body } as const
    await t.rejects(Array.fromAsync(streamControl(config.server.control, call)), { message })
    t.equal(ran, false)
  })
}

test('operations: each has a path of its own', t => {
  const paths = Object.values(operations).map(({ path }) => path)
  t.equal(new Set(paths).size, paths.length)
  t.strictSame(paths, ['/upkeep/gc', '/upkeep/scrub', '/upkeep/du', '/upkeep/purge', '/upkeep/prefetch', '/why', '/verify'])
  t.end()
})
