import { type Test, test } from 'tap'
import { StallDetector } from '../../../src/api/stall-detector.ts'

/** A detector with a manual clock. */
function setUp(t: Test) {
  let now = 0
  const stalls = new StallDetector({ bytes: 100, perMs: 1000 }, () => now)
  t.teardown(() => stalls.close())
  const after = (ms: number) => {
    now += ms
    stalls.check()
  }
  return { stalls, after }
}

test('stalls: a body below the rate is stalled, once', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  const watched = stalls.receiving(() => stalled++)
  watched.progressed(99)
  after(999)
  t.equal(stalled, 0, 'its period is not over')
  after(1)
  after(5000)
  t.equal(stalled, 1)
  t.equal(stalls.transfers, 0)
})

test('stalls: a body at the rate is never stalled', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  const watched = stalls.receiving(() => stalled++)
  for (let period = 0; period < 1000; period++) {
    watched.progressed(100)
    after(1000)
  }
  t.equal(stalled, 0)
})

test('stalls: what moved in one period does not count in the next', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  stalls.receiving(() => stalled++).progressed(1_000_000)
  after(1000)
  t.equal(stalled, 0)
  after(1000)
  t.equal(stalled, 1)
})

test('stalls: bodies being sent have longer periods, since the kernel reports free space late', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  stalls.sending(() => stalled++)
  after(3999)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('stalls: the time while it is paused does not count, and the time before and after does', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  const watched = stalls.receiving(() => stalled++)
  after(600)
  watched.pause()
  after(100_000)
  watched.resume()
  after(399)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('stalls: a body that is paused twice is paused until it resumes, and a second resume has no effect', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  const watched = stalls.receiving(() => stalled++)
  watched.resume()
  watched.pause()
  after(5000)
  watched.pause()
  after(5000)
  watched.resume()
  watched.resume()
  after(999)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('stalls: a body that has ended is not checked', async t => {
  const { stalls, after } = setUp(t)
  let stalled = 0
  stalls.receiving(() => stalled++).end()
  after(100_000)
  t.equal(stalled, 0)
  t.equal(stalls.transfers, 0)
})
