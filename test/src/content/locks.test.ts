import { test } from 'tap'
import { createLocks } from '../../../src/content/locks.ts'

test('locks: tasks of one key run one after another in order, also after one that failed', async t => {
  const locked = createLocks()
  const seen: string[] = []
  const task = (name: string) => async () => {
    seen.push(`${name} begins`)
    await new Promise(resolve => setImmediate(resolve))
    seen.push(`${name} ends`)
    if (name === 'b') throw new Error('b')
    return name
  }
  const results = await Promise.allSettled(['a', 'b', 'c'].map(name => locked('key', task(name))))
  t.strictSame(
    seen,
    ['a', 'b', 'c'].flatMap(name => [`${name} begins`, `${name} ends`])
  )
  t.match(results, [{ value: 'a' }, { reason: { message: 'b' } }, { value: 'c' }])
})

test('locks: tasks of other keys do not wait', async t => {
  const locked = createLocks()
  const gate = Promise.withResolvers<void>()
  const first = locked('a', () => gate.promise)
  t.equal(await locked('b', async () => 'done'), 'done')
  gate.resolve()
  await first
})
