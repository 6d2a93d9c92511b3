import { test } from 'tap'
import { createGate } from '../../../src/access/gate.ts'

test('gate: no more jobs run than allowed, waiting jobs run in order of arrival, and the rest is refused', async t => {
  const gate = createGate({ running: 2, waiting: 2 })
  const started: number[] = []
  const finish: (() => void)[] = []
  const job = (number: number) => () => {
    started.push(number)
    return new Promise<number>(resolve => finish.push(() => resolve(number)))
  }
  const results = [1, 2, 3, 4].map(number => gate.run(job(number)))
  t.equal(gate.run(job(5)), undefined)
  t.strictSame(started, [1, 2])
  finish[1]?.()
  t.equal(await results[1], 2)
  t.strictSame(started, [1, 2, 3])
  finish[0]?.()
  finish[2]?.()
  t.strictSame(await Promise.all([results[0], results[2]]), [1, 3])
  finish[3]?.()
  t.equal(await results[3], 4)
})

test('gate: a job that fails lets the next one run', async t => {
  const gate = createGate({ running: 1, waiting: 1 })
  const first = gate.run(() => Promise.reject(new Error('broken')))
  const second = gate.run(async () => 'fine')
  await t.rejects(first ?? Promise.resolve(), /broken/)
  t.equal(await second, 'fine')
  t.equal(await gate.run(async () => 'again'), 'again')
})
