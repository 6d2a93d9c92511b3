import { test } from 'tap'
import { RateLimiter, type RateShare } from '../../storage/rate-limiter.ts'
import { createTestClock } from '../support/clock.ts'
import { turns } from './contract-test.ts'

/** A rate of 1000 bytes per ms, by a clock that the test moves. */
function setUp() {
  let waited = 0
  const clock = createTestClock()
  const onWait = (ms: number) => {
    waited += ms
  }
  const rate = new RateLimiter(1_000_000, { clock, onWait })
  const pass = async (ms: number) => {
    // Until all streams wait.
    await turns(1)
    await clock.advance(ms)
  }
  return { rate, pass, waited: () => waited }
}

/** Takes pieces for as long as it may; counts what it got. */
function taking(share: RateShare, piece: number, signal?: AbortSignal): { got: number } {
  const taken = { got: 0 }
  const run = async () => {
    for (;;) {
      await share.take(piece, signal)
      taken.got += piece
    }
  }
  run().catch(() => {})
  return taken
}

const near = (value: number, wanted: number, by: number): boolean => Math.abs(value - wanted) <= by

test('rate: no more moves than so many bytes per second and one burst, and no less', async t => {
  const { rate, pass, waited } = setUp()
  const taken = taking(rate.share(), 10_000)
  await pass(10_000)
  t.ok(near(taken.got, 10_000_000 + 100_000, 20_000), `${taken.got}`)
  t.ok(near(waited(), 9_900, 200), `waited for ${waited()} ms`)
})

test('rate: a piece larger than the burst moves, and is made up for', async t => {
  const { rate, pass } = setUp()
  const taken = taking(rate.share(), 1_000_000)
  await pass(10_000)
  t.ok(near(taken.got, 10_500_000, 600_000), `${taken.got}`)
})

test('rate: what was not used long ago is not moved in one burst', async t => {
  const { rate, pass } = setUp()
  await pass(60_000)
  const taken = taking(rate.share(), 10_000)
  await pass(1000)
  t.ok(near(taken.got, 1_100_000, 20_000), `${taken.got}`)
})

test('rate: streams get the same bytes, however large the pieces are that they ask for', async t => {
  const { rate, pass } = setUp()
  const all = [1_000, 10_000, 100_000].map(piece => taking(rate.share(), piece))
  await pass(30_000)
  for (const { got } of all) t.ok(near(got, 10_000_000, 200_000), `${got}`)
})

test('rate: a stream that comes later or was idle gets its share at once, and no more than that', async t => {
  const { rate, pass } = setUp()
  const idle = rate.share()
  const first = taking(rate.share(), 10_000)
  await pass(10_000)
  const before = first.got
  const second = taking(idle, 10_000)
  await pass(2_000)
  t.ok(near(second.got, 1_000_000, 50_000), `${second.got}`)
  t.ok(near(first.got - before, 1_000_000, 50_000), `${first.got - before}`)
})

test('rate: a stream that leaves while it waits gets the reason of its signal, and the others its share', async t => {
  const { rate, pass } = setUp()
  const stays = taking(rate.share(), 10_000)
  const leaves = new AbortController()
  const left = taking(rate.share(), 10_000, leaves.signal)
  await pass(1000)
  const waiting = rate.share().take(10_000, leaves.signal)
  waiting.catch(() => {})
  leaves.abort(new Error('gone'))
  await t.rejects(waiting, { message: 'gone' })
  await turns(1)
  t.equal(rate.waiting, 1)
  const before = [stays.got, left.got]
  await pass(1000)
  t.ok(near(stays.got - (before[0] ?? 0), 1_000_000, 30_000), `${stays.got - (before[0] ?? 0)}`)
  t.equal(left.got, before[1])
})

test('rate: later streams make up for what was spent without a wait', async t => {
  const { rate, pass } = setUp()
  rate.share().spend(5_100_000)
  const taken = taking(rate.share(), 10_000)
  await pass(4_900)
  t.equal(taken.got, 0)
  await pass(1_100)
  t.ok(near(taken.got, 1_000_000, 20_000), `${taken.got}`)
})

test('rate: a piece is a twentieth of a second, within limits', t => {
  const pieces = [1024, 1_000_000, 1_000_000_000].map(each => new RateLimiter(each).share().chunkBytes)
  t.strictSame(pieces, [4096, 50_000, 1024 * 1024])
  t.end()
})
