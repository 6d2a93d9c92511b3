import { randomBytes } from 'node:crypto'
import { type Test, test } from 'tap'
import { type FillEvent, Fills, type FillsOptions } from '../../../../src/content/fill/fills.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { named, openFor } from '../../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../../support/storage.ts'

const name = named('app')

async function place(t: Test, fail: (call: string) => void = () => {}, options: FillsOptions = {}) {
  const { content, storage } = await openFor(t, watchStorage(await openStorage(t), fail))
  const ended: FillEvent[] = []
  const clock = { at: 0 }
  const fills = new Fills(storage, content.commit, event => void ended.push(event), { now: () => clock.at, ...options })
  t.teardown(() => fills.close())
  const start = ({ maxFills = 8, bytes = randomBytes(100), held = Promise.resolve() as Promise<unknown>, of = name } = {}) => {
    async function* chunks() {
      await held
      yield bytes
    }
    return fills.start({ digest: digestOf(bytes), name: of, upstream: 'u', maxFills }, async () => ({ chunks: chunks(), cancel: () => {} }))
  }
  return { storage, fills, ended, clock, start }
}

test('fills: a running fill is found by its digest until it has ended', async t => {
  const { fills, start } = await place(t)
  const held = Promise.withResolvers<void>()
  const fill = start({ held: held.promise })
  t.equal(fill && fills.find(fill.digest), fill)
  t.equal(fills.running, 1)
  held.resolve()
  await fill?.done
  t.equal(fill && fills.find(fill.digest), undefined)
  t.equal(fills.running, 0)
})

test('fills: no more than `maxFills` run at once', async t => {
  const { start } = await place(t)
  const held = Promise.withResolvers<void>()
  const first = start({ maxFills: 1, held: held.promise })
  t.equal(start({ maxFills: 1 }), undefined)
  held.resolve()
  await first?.done
  t.ok(start({ maxFills: 1 }))
})

test('fills: after an I/O error of the storage none is started for ten seconds', async t => {
  let broken = true
  const { clock, ended, start } = await place(t, call => {
    if (broken && call === 'write') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  })
  t.equal(await start()?.done, 'medium')
  broken = false
  clock.at = 9_999
  t.equal(start(), undefined)
  clock.at = 10_000
  t.equal(await start()?.done, 'stored')
  t.strictSame(
    ended.map(each => each.result),
    ['medium', 'stored']
  )
})

test('fills: close cancels the running ones and leaves nothing behind', async t => {
  const { storage, fills, ended, start } = await place(t)
  const held = Promise.withResolvers<void>()
  const all = [start({ held: held.promise }), start({ held: held.promise })]
  await Promise.all(all.map(each => each?.opened))
  const closed = fills.close()
  held.resolve()
  await closed
  t.strictSame(await Promise.all(all.map(each => each?.done)), ['broken', 'broken'])
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  t.strictSame(await keysBelow(storage, 'docker'), [])
  t.equal(ended.length, 2)
})

test('fills: the event has the duration', async t => {
  const { clock, ended, start } = await place(t)
  const held = Promise.withResolvers<void>()
  const fill = start({ held: held.promise })
  await fill?.opened
  clock.at = 1_234
  held.resolve()
  await fill?.done
  t.match(ended, [{ ms: 1_234, bytes: 100 }])
})

test('fills: an upstream alone has all fill slots, and where another has taken them, a part of as many', async t => {
  const [one, two] = [named('one/app'), named('two/app')]
  const refused: string[] = []
  const shares = { upstreamOf: (each: string) => each.split('/')[0] ?? '', upstreams: () => new Set(['one', 'two', 'three']) }
  const { fills, start } = await place(t, undefined, { shares, onNone: reason => void refused.push(reason) })
  const held = Promise.withResolvers<void>()
  const running = (of: typeof one) => start({ maxFills: 6, of, held: held.promise })
  const greedy = Array.from({ length: 7 }, () => running(one))
  t.equal(greedy.filter(Boolean).length, 6)
  const others = Array.from({ length: 3 }, () => running(two))
  t.equal(others.filter(Boolean).length, 2)
  t.strictSame(refused, ['slots', 'slots'])
  t.equal(fills.running, 8)
  held.resolve()
  await Promise.all([...greedy, ...others].map(each => each?.done))
  t.equal(fills.running, 0)
  t.ok(running(two), 'slots come back')
})

test('fills: a slot comes back when its fill breaks', async t => {
  const shares = { upstreamOf: () => 'one', upstreams: () => new Set(['one', 'two']) }
  const { fills } = await place(t, undefined, { shares })
  for (let round = 0; round < 5; round++) {
    const bytes = randomBytes(10)
    const fill = fills.start({ digest: digestOf(bytes), name, upstream: 'u', maxFills: 1 }, () => Promise.reject(new Error('refused')))
    t.equal(await fill?.done, 'broken')
  }
})

test('fills: where what is staged has a limit, no upstream takes the part of another one by what it declares', async t => {
  const { content, storage } = await openFor(t)
  const staging = { ...watchStorage(storage, () => {}), stagingBytes: 1_000 }
  const shares = { upstreamOf: (each: string) => each.split('/')[0] ?? '', upstreams: () => new Set(['one', 'two']) }
  const fills = new Fills(staging, content.commit, () => {}, { shares })
  const held = Promise.withResolvers<void>()
  async function* never() {
    await held.promise
    yield Buffer.alloc(0)
  }
  const declare = (of: string, size: number) =>
    fills.start({ digest: digestOf(randomBytes(8)), name: named(of), upstream: of, maxFills: 8 }, async () => ({
      size,
      chunks: never(),
      cancel: () => {}
    }))
  t.equal(await declare('one/app', 751)?.done, 'full')
  t.equal(await declare('one/app', 500)?.opened, 500)
  t.equal(await declare('one/app', 251)?.done, 'full', 'all of an upstream count together')
  t.equal(await declare('two/app', 250)?.opened, 250)
  held.resolve()
  await fills.close()
})
