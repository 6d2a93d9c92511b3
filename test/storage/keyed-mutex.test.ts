import { test } from 'tap'
import { createKeyedMutex, createMutex } from '../../storage/keyed-mutex.ts'

test('keyed mutex: tasks of one key run one after another in order, also after one that failed', async t => {
  const locked = createKeyedMutex()
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

test('keyed mutex: tasks of other keys do not wait', async t => {
  const locked = createKeyedMutex()
  const gate = Promise.withResolvers<void>()
  const first = locked('a', () => gate.promise)
  t.equal(await locked('b', async () => 'done'), 'done')
  gate.resolve()
  await first
})

test('mutex: tasks run one at a time in the order of their calls, the first within its call, also after one that failed', async t => {
  const mutex = createMutex()
  const seen: string[] = []
  const task = (name: string) => async () => {
    seen.push(`${name} begins`)
    await new Promise(resolve => setImmediate(resolve))
    seen.push(`${name} ends`)
    if (name === 'b') throw new Error('b')
    return name
  }
  const results = Promise.allSettled(['a', 'b', 'c'].map(name => mutex(task(name))))
  t.strictSame(seen, ['a begins'])
  t.match(await results, [{ value: 'a' }, { reason: { message: 'b' } }, { value: 'c' }])
  t.strictSame(
    seen,
    ['a', 'b', 'c'].flatMap(name => [`${name} begins`, `${name} ends`])
  )
})
