import { type Test, test } from 'tap'
import { Progress } from '../../../src/api/progress.ts'

/** A clock that the test winds. */
function setUp(t: Test) {
  let now = 0
  const progress = new Progress({ bytes: 100, per: 1000 }, () => now)
  t.teardown(() => progress.close())
  const after = (ms: number) => {
    now += ms
    progress.check()
  }
  return { progress, after }
}

test('progress: a body below the rate is stalled, once', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  const watched = progress.receiving(() => stalled++)
  watched.moved(99)
  after(999)
  t.equal(stalled, 0, 'its period is not over')
  after(1)
  after(5000)
  t.equal(stalled, 1)
  t.equal(progress.running, 0)
})

test('progress: a body at the rate goes on for ever', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  const watched = progress.receiving(() => stalled++)
  for (let period = 0; period < 1000; period++) {
    watched.moved(100)
    after(1000)
  }
  t.equal(stalled, 0)
})

test('progress: what moved in one period does not count in the next', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  progress.receiving(() => stalled++).moved(1_000_000)
  after(1000)
  t.equal(stalled, 0)
  after(1000)
  t.equal(stalled, 1)
})

test('progress: what is sent has longer periods, since the kernel tells of it late', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  progress.sending(() => stalled++)
  after(3999)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('progress: the time in which it waits for us does not count, and the time before and after does', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  const watched = progress.receiving(() => stalled++)
  after(600)
  watched.hold()
  after(100_000)
  watched.go()
  after(399)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('progress: a body that is held twice is held until it goes, and one that goes twice was not held', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  const watched = progress.receiving(() => stalled++)
  watched.go()
  watched.hold()
  after(5000)
  watched.hold()
  after(5000)
  watched.go()
  watched.go()
  after(999)
  t.equal(stalled, 0)
  after(1)
  t.equal(stalled, 1)
})

test('progress: a body that has ended is not looked at', async t => {
  const { progress, after } = setUp(t)
  let stalled = 0
  progress.receiving(() => stalled++).end()
  after(100_000)
  t.equal(stalled, 0)
  t.equal(progress.running, 0)
})
