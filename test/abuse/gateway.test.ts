// The attack: a client asks for something whose work waits for shared work, leaves, and asks again on a new connection.
// A request may outlive its connection, so that `limits.connections` bounded neither the requests nor their memory.
import { pino } from 'pino'
import { test } from 'tap'
import { Gateway, type GatewayOptions } from '../../src/api/gateway.ts'
import { StallDetector } from '../../src/api/stall-detector.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createApp } from '../../src/ports/app.ts'
import { createPort } from '../../src/ports/listen.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { ask, codeOf, reasonOf, unheardAudit, until } from '../src/support.ts'
import { flood, listening, pipelined } from './attack.ts'

test('gateway: requests that outlive their connections are bounded, those beyond are answered 429', async t => {
  const door = Promise.withResolvers<void>()
  const stalls = new StallDetector({ bytes: 1, perMs: 60_000 })
  t.teardown(() => stalls.close())
  const listTags = () => door.promise.then(() => ({ value: { items: [] }, outcome: 'hit' }))
  const options = {
    backendFor: () => ({ mode: 'Local', listTags }) as unknown as Backend,
    identify: async () => ({ require: () => {}, mayPull: () => true, mayPullAll: () => true, mayList: () => true, mayListAll: () => true }),
    issueToken: async () => undefined,
    addressOf: () => '192.0.2.1',
    limits: { manifestBytes: 1, uploads: 1, connections: 128 },
    shortage: async () => undefined,
    sessions: {} as GatewayOptions['sessions'],
    stalls,
    log: pino({ level: 'silent' }),
    metrics: createMetrics(),
    audit: await unheardAudit()
  } satisfies GatewayOptions
  const gateway = new Gateway(options)
  const app = createApp(listener => createPort(listener, undefined, { maxConnections: 1_000, headTimeoutMs: 60_000 }))
  gateway.register(app)
  await app.ready()
  const { address } = await listening(t, app.server)
  const wires = await Promise.all(Array.from({ length: 256 }, () => flood(t, address, pipelined(1, 'GET /v2/a/tags/list'))))
  await until(() => gateway.running === 256)
  for (const wire of wires) wire.socket.destroy()
  const refused = await ask(address, 'GET', '/v2/a/tags/list')
  t.strictSame([refused.status, codeOf(refused), reasonOf(refused)], [429, 'TOOMANYREQUESTS', 'too many requests are under way'])
  t.match(refused.headers['retry-after'], /^\d+$/)
  t.equal(gateway.running, 256)
  door.resolve()
  await until(() => gateway.running === 0)
  t.equal((await ask(address, 'GET', '/v2/')).status, 200)
})
