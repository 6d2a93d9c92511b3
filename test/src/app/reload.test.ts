import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Test, test } from 'tap'
import { configDifference, needRestart } from '../../../config/difference.ts'
import { loadConfig } from '../../../config/load.ts'
import type { Config } from '../../../config/schema.ts'
import { Reload } from '../../../src/app/reload.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { folder } from '../support.ts'

/** A reload over what `next` gives, one after another; the last one stays. */
async function reloading(t: Test, ...texts: string[]) {
  const file = join(folder(t), 'registry.yaml')
  const load = () => {
    writeFileSync(file, texts.length > 1 ? String(texts.shift()) : String(texts[0]))
    return loadConfig({ file, env: {} })
  }
  const first = load()
  const applied: { config: Config; changed: readonly string[] }[] = []
  const fault: { message?: string } = {}
  const lines: string[] = []
  const metrics = createMetrics()
  const reload = new Reload(first, {
    load: load,
    apply: async (config, changed) => {
      if (fault.message !== undefined) throw new Error(fault.message)
      applied.push({ config, changed })
    },
    log: pino({ base: null }, { write: line => void lines.push(JSON.parse(line).msg) }),
    metrics,
    difference: configDifference,
    needRestart
  })
  return { reload, applied, fault, lines, metrics, texts }
}

const level = (name: string) => `log: { level: ${name} }\n`

test('Reload: an unchanged file is not applied, and nothing is reported', async t => {
  const { reload, applied, lines } = await reloading(t, level('info'))
  t.equal((await reload.check()).result, 'unchanged')
  t.strictSame([applied.length, lines, reload.last], [0, [], undefined])
})

test('Reload: a change is applied once, with the settings that changed', async t => {
  const { reload, applied } = await reloading(t, level('info'), level('warn'))
  t.match(await reload.check(), { result: 'applied', changed: ['log.level'] })
  t.equal((await reload.check()).result, 'unchanged')
  t.strictSame(
    applied.map(each => each.config.log.level),
    ['warn']
  )
  t.match(reload.last, { result: 'applied' })
})

test('Reload: a file that differs at the second reading is read again, until two readings agree', async t => {
  const { reload, applied } = await reloading(t, level('info'), level('warn'), level('error'), level('debug'))
  t.equal((await reload.check()).result, 'applied')
  t.strictSame(
    applied.map(each => each.config.log.level),
    ['debug']
  )
})

test('Reload: a file that is truncated at the second reading changes nothing', async t => {
  const { reload, applied } = await reloading(t, level('info'), level('warn'), 'log: { lev')
  t.equal((await reload.check()).result, 'faulty')
  t.equal(applied.length, 0)
})

test('Reload: a change that cannot be applied is faulty, and is retried', async t => {
  const { reload, fault, applied } = await reloading(t, level('info'), level('warn'))
  fault.message = 'no such users'
  t.match(await reload.check(), { result: 'faulty', reason: 'no such users' })
  delete fault.message
  t.equal((await reload.check()).result, 'applied')
  t.equal(applied.length, 1)
})

test('Reload: a fault is reported once, and again when it comes back', async t => {
  const { reload, lines, texts } = await reloading(t, level('info'), '')
  await reload.check()
  await reload.check()
  t.equal(lines.length, 1)
  texts.splice(0, texts.length, level('info'))
  t.equal((await reload.check()).result, 'unchanged')
  t.match(reload.last, { result: 'unchanged' })
  texts.splice(0, texts.length, '')
  await reload.check()
  t.equal(lines.length, 2)
})

test('Reload: two checks at once run one after the other', async t => {
  const { reload, applied } = await reloading(t, level('info'), level('warn'))
  const both = await Promise.all([reload.check(), reload.check()])
  t.strictSame(
    both.map(each => each.result),
    ['applied', 'unchanged']
  )
  t.equal(applied.length, 1)
})

test('Reload: a change that needs a restart is refused whole and named', async t => {
  const { reload, applied } = await reloading(t, level('info'), `${level('warn')}limits: { connections: 7 }\n`)
  t.match(await reload.check(), { result: 'refused', reason: 'only a restart can change limits.connections' })
  t.equal(applied.length, 0)
})
