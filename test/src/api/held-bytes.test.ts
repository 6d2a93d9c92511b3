import { test } from 'tap'
import { HeldBytes, type Hold } from '../../../src/api/held-bytes.ts'

function setUp(limits = { bytes: 100, holds: 10 }) {
  const clock = { ms: 0 }
  const held = new HeldBytes(limits, () => clock.ms)
  const gone: string[] = []
  const body = (name: string, bytes = 0, shared?: object): Hold => {
    const hold = held.hold(shared)
    hold.giveWay = () => void gone.push(name)
    hold.grow(bytes)
    return hold
  }
  return { clock, held, gone, body }
}

test('held bytes: without room the body gives way that has kept the most for the longest', async t => {
  const { clock, held, gone, body } = setUp()
  body('early and small', 1)
  body('early and large', 60)
  clock.ms = 10_000
  body('late', 30)
  t.strictSame(gone, [])
  clock.ms = 12_000
  body('new', 20)
  t.strictSame(gone, ['early and large'])
  t.equal(held.bytes, 51)
})

test('held bytes: a body that came a moment ago does not give way, the one that grows is refused', async t => {
  const { held, gone, body } = setUp()
  body('one', 60)
  t.throws(() => body('two', 60), { code: 'TOOMANYREQUESTS', status: 429, headers: { 'retry-after': '1' } })
  t.strictSame(gone, [])
  t.equal(held.bytes, 120, 'until it ends')
})

test('held bytes: a body that is being used gives no way', async t => {
  const { clock, gone, body } = setUp()
  body('used', 90).giveWay = undefined
  clock.ms = 60_000
  t.throws(() => body('new', 20), { code: 'TOOMANYREQUESTS' })
  t.strictSame(gone, [])
})

test('held bytes: too many bodies, the oldest gives way', async t => {
  const { clock, gone, body } = setUp({ bytes: 100, holds: 2 })
  body('first')
  clock.ms = 500
  body('second')
  t.throws(() => body('third'), { code: 'TOOMANYREQUESTS' })
  clock.ms = 1_000
  body('fourth')
  t.strictSame(gone, ['first'])
})

test('held bytes: an end counts once, also of a body that gave way', async t => {
  const { clock, held, body } = setUp()
  const first = body('first', 80)
  clock.ms = 5_000
  const second = body('second', 80)
  first.end()
  t.equal(held.bytes, 80)
  second.end()
  second.end()
  t.equal(held.bytes, 0)
})

test('held bytes: bodies that share their bytes keep them once, until the last one ends', async t => {
  const { held, body } = setUp({ bytes: 100, holds: 50 })
  const bytes = {}
  const all = Array.from({ length: 50 }, () => body('reader', 90, bytes))
  t.equal(held.bytes, 90)
  for (const each of all.slice(1)) each.end()
  t.equal(held.bytes, 90)
  all[0]?.end()
  t.equal(held.bytes, 0)
})
