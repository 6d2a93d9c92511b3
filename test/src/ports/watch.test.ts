import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { watchFiles } from '../../../src/ports/watch.ts'

type Test = Parameters<Parameters<typeof test>[0]>[0]

const never = 3_600_000

/** Watches `a` (and `b`) in a new directory; the value is their text, and the text "bad" cannot be used. */
async function setUp(t: Test, options: { intervalMs?: number } = {}) {
  const directory = t.testdir({ a: 'a1', b: 'b1' })
  const path = (name: string): string => join(directory, name)
  const changes: string[] = []
  const faults: string[] = []
  const watched = await watchFiles({
    files: { a: path('a'), b: path('b') },
    intervalMs: options.intervalMs ?? never,
    load({ a, b }) {
      if (String(a) === 'bad') throw new Error('bad content')
      return `${a} ${b}`
    },
    onChange: value => changes.push(value),
    onFault: fault => faults.push(String(fault))
  })
  t.teardown(watched.stop)
  return { watched, changes, faults, path }
}

test('watch: the first content is there when it resolves, and is no change', async t => {
  const { watched, changes } = await setUp(t)
  t.equal(watched.value, 'a1 b1')
  await watched.check()
  await watched.check()
  t.strictSame(changes, [])
})

test('watch: a change takes effect when two polls in a row have found the same', async t => {
  const { watched, changes, path } = await setUp(t)
  await writeFile(path('a'), 'a2')
  await watched.check()
  t.equal(watched.value, 'a1 b1')
  await writeFile(path('b'), 'b2')
  await watched.check()
  t.equal(watched.value, 'a1 b1', 'it has changed again meanwhile')
  await watched.check()
  t.strictSame(changes, ['a2 b2'])
  t.equal(watched.value, 'a2 b2')
  await watched.check()
  t.strictSame(changes, ['a2 b2'], 'once only')
})

test('watch: a change that is undone before the second poll is none', async t => {
  const { watched, changes, path } = await setUp(t)
  await writeFile(path('a'), 'a2')
  await watched.check()
  await writeFile(path('a'), 'a1')
  await watched.check()
  await watched.check()
  t.strictSame(changes, [])
})

test('watch: a swapped symbolic link to a directory is seen', async t => {
  const directory = t.testdir({ one: { f: '1' }, two: { f: '2' } })
  await symlink('one', join(directory, 'now'))
  const watched = await watchFiles({
    files: { f: join(directory, 'now', 'f') },
    intervalMs: never,
    load: ({ f }) => String(f),
    onChange: () => {},
    onFault: fault => t.fail(String(fault))
  })
  t.teardown(watched.stop)
  await symlink('two', join(directory, 'next'))
  await rename(join(directory, 'next'), join(directory, 'now'))
  await watched.check()
  await watched.check()
  t.equal(watched.value, '2')
})

test('watch: content that cannot be used is reported once and leaves the value, until it is mended', async t => {
  const { watched, faults, path } = await setUp(t)
  await writeFile(path('a'), 'bad')
  for (let poll = 0; poll < 4; poll++) await watched.check()
  t.strictSame(faults, ['Error: bad content'])
  t.equal(watched.value, 'a1 b1')
  await writeFile(path('a'), 'a3')
  await watched.check()
  await watched.check()
  t.equal(watched.value, 'a3 b1')
})

test('watch: a file that is gone is reported once, and seen when it is back', async t => {
  const { watched, faults, changes, path } = await setUp(t)
  await rm(path('a'))
  for (let poll = 0; poll < 3; poll++) await watched.check()
  t.equal(faults.length, 1)
  t.match(faults[0], /ENOENT.*\/a'/)
  await writeFile(path('a'), 'a4')
  await watched.check()
  await watched.check()
  t.strictSame(changes, ['a4 b1'])
  await rm(path('a'))
  await watched.check()
  t.equal(faults.length, 2, 'the next absence is another one')
})

test('watch: a directory in place of a file is a fault and not an endless wait', async t => {
  const { watched, faults, path } = await setUp(t)
  await rm(path('a'))
  await mkdir(path('a'))
  await watched.check()
  t.match(faults, [/is not a file/])
})

test('watch: a file far too large is not read', async t => {
  const { watched, faults, path } = await setUp(t)
  await writeFile(path('a'), Buffer.alloc(4 * 1024 * 1024 + 1))
  await watched.check()
  t.match(faults, [/more than 4194304/])
})

test('watch: it rejects when the first content cannot be read or used', async t => {
  const options = { intervalMs: never, load: () => '', onChange: () => {}, onFault: () => {} }
  await t.rejects(watchFiles({ ...options, files: { a: join(t.testdir({}), 'none') } }), { code: 'ENOENT' })
  const load = (): string => {
    throw new Error('unusable')
  }
  await t.rejects(watchFiles({ ...options, load, files: { a: join(t.testdir({ f: '' }), 'f') } }), /unusable/)
})

test('watch: it polls by itself, again and again', async t => {
  const { watched, path } = await setUp(t, { intervalMs: 5 })
  for (const text of ['x', 'y']) {
    await writeFile(path('a'), text)
    while (watched.value !== `${text} b1`) await sleep(5)
  }
  t.equal(watched.value, 'y b1')
})

test('watch: after stop nothing takes effect, not even a poll that is running', async t => {
  const { watched, changes, faults, path } = await setUp(t)
  await writeFile(path('a'), 'a2')
  await watched.check()
  const poll = watched.check()
  watched.stop()
  await poll
  await rm(path('a'))
  await watched.check()
  t.strictSame([changes, faults, watched.value], [[], [], 'a1 b1'])
})
