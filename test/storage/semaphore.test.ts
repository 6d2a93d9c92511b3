import { test } from 'tap'
import { createSemaphore } from '../../storage/semaphore.ts'

test('semaphore: no more than the permits run at once, the others in order, also after one that failed', async t => {
  const semaphore = createSemaphore(2)
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>())
  const started: number[] = []
  const tasks = gates.map((gate, at) =>
    semaphore(async () => {
      started.push(at)
      await gate.promise
    })
  )
  const settled = Promise.allSettled(tasks)
  t.strictSame(started, [0, 1])
  gates[1]?.reject(new Error('1'))
  await t.rejects(tasks[1] ?? Promise.resolve())
  await new Promise(resolve => setImmediate(resolve))
  t.strictSame(started, [0, 1, 2])
  for (const gate of gates) gate.resolve()
  t.strictSame(
    (await settled).map(each => each.status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled']
  )
  t.strictSame(started, [0, 1, 2, 3, 4])
})
