import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { metricTable } from '../../../src/telemetry/metric-table.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { renderMetricsReference } from '../../../src/telemetry/metrics-reference.ts'
import { ask, serve } from '../support.ts'

const page = join(import.meta.dirname, '../../../docs/metrics.md')

test('metrics: docs/metrics.md is up to date (else: npm run schema)', async t => {
  t.equal(readFileSync(page, 'utf8'), renderMetricsReference())
})

test('metrics: a running registry has those of the table but for the controller, and no others, in the documented types', async t => {
  const served = await serve(t)
  const { body } = await ask(served.admin, 'GET', '/metrics')
  const types = [...body.toString().matchAll(/^# TYPE (registry_\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  const own = Object.entries(metricTable).filter(([key]) => !key.startsWith('controller'))
  t.same(types.sort(), own.map(([, { name, type }]) => `${name} ${type}`).sort())
})

test('metrics: every gauge that is collected is set at each scrape', async t => {
  const metrics = createMetrics()
  let value = 0
  metrics.collect('requestsRunning', gauge => gauge.set(++value))
  t.match(await metrics.register.metrics(), /^registry_requests_running 1$/m)
  t.match(await metrics.register.metrics(), /^registry_requests_running 2$/m)
})

test('metrics: two servers in one process count apart', async t => {
  const [one, two] = [createMetrics(), createMetrics()]
  one.damaged.inc()
  t.match(await two.register.metrics(), /^registry_damaged_objects_total 0$/m)
})
