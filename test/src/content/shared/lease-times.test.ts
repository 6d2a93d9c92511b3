import { type Test, test } from 'tap'
import { RemovalLease } from '../../../../src/content/shared/removal-lease.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { createTestClock } from '../../../support/clock.ts'
import { createConditionalObjects } from '../../../support/conditional-objects.ts'

const times = { statusTtlMs: 5_000, noticeMs: 10_000, pollMs: 250 }
const abandonedAfterMs = 90_000
const [digest, other] = [digestOf(Buffer.from('pending')), digestOf(Buffer.from('other'))]

/** Two processes over the same objects and on the same clock; `calls` counts what the second one asks the storage. */
function two(t: Test) {
  const clock = createTestClock()
  const objects = createConditionalObjects(clock)
  const [own, observed] = [objects.view(), objects.view()]
  let calls = 0
  observed.fate = async () => void calls++
  const holder = new RemovalLease(own, times, clock)
  const observer = new RemovalLease(observed, times, clock)
  const acquire = async () => {
    const acquiring = holder.acquire()
    await clock.whenWaiting(3)
    await clock.advance(times.noticeMs)
    const release = await acquiring
    t.teardown(release)
    return release
  }
  return { clock, own, holder, observer, acquire, calls: () => calls }
}

const isSettled = async (promise: Promise<unknown>): Promise<boolean> => {
  let settled = false
  promise.then(
    () => {
      settled = true
    },
    () => {}
  )
  await new Promise(setImmediate)
  return settled
}

test('removal lease: removals begin when every other process has observed it', async t => {
  const { clock, holder, observer } = two(t)
  t.equal(await observer.heldElsewhere(), false)
  const acquiring = holder.acquire()
  await clock.whenWaiting(3)
  await clock.advance(times.noticeMs - 1)
  t.equal(await isSettled(acquiring), false)
  t.equal(await observer.heldElsewhere(), true)
  await clock.advance(1)
  const release = await acquiring
  t.equal(await holder.heldElsewhere(), false, 'its own lease is not another process')
  await release()
  await clock.advance(times.statusTtlMs + 1)
  t.equal(await observer.heldElsewhere(), false)
})

test('removal lease: an observation counts for its TTL, so that requests cost no request to the storage each', async t => {
  const { clock, observer, calls } = two(t)
  for (let request = 0; request < 100; request++) await observer.heldElsewhere()
  t.equal(calls(), 1)
  await clock.advance(times.statusTtlMs + 1)
  await observer.heldElsewhere()
  t.equal(calls(), 2)
})

test('removal lease: an observation that failed does not count', async t => {
  const clock = createTestClock()
  const view = createConditionalObjects(clock).view()
  const lease = new RemovalLease(view, times, clock)
  view.fate = () => Promise.reject(new Error('the service does not answer'))
  await t.rejects(lease.heldElsewhere(), { message: 'the service does not answer' })
  await new Promise(setImmediate)
  view.fate = async () => {}
  t.equal(await lease.heldElsewhere(), false)
})

test('removal lease: the epoch grows when another process has held it, also between two observations', async t => {
  const { clock, observer, acquire } = two(t)
  await observer.heldElsewhere()
  const before = observer.epoch
  await (await acquire())()
  await clock.advance(times.statusTtlMs + 1)
  t.equal(await observer.heldElsewhere(), false)
  t.not(observer.epoch, before)
})

test('removal lease: the lease of a process that died is ignored after a while', async t => {
  const { clock, own, observer, acquire } = two(t)
  await acquire()
  own.fate = () => Promise.reject(new Error('it is dead'))
  t.equal(await observer.heldElsewhere(), true)
  await clock.advance(abandonedAfterMs - 1)
  t.equal(await observer.heldElsewhere(), true)
  await clock.advance(times.statusTtlMs + 1)
  t.equal(await observer.heldElsewhere(), false)
})

test('removal lease: a process that reports content waits while its deletion is pending, and for no other', async t => {
  const { clock, holder, observer, acquire } = two(t)
  await acquire()
  const removed = Promise.withResolvers<void>()
  const announced = holder.announce([digest], () => removed.promise)
  await new Promise(setImmediate)
  await observer.waitWhilePending([other])
  const waiting = observer.waitWhilePending([digest])
  await clock.advance(times.pollMs * 4)
  t.equal(await isSettled(waiting), false)
  removed.resolve()
  await announced
  await clock.advance(times.pollMs)
  await waiting
})

test('removal lease: a pending deletion of a process that died is waited for no longer than its lease may last', async t => {
  const { clock, own, holder, observer, acquire } = two(t)
  await acquire()
  const announced = holder.announce([digest], () => new Promise(() => {}))
  announced.catch(() => {})
  await new Promise(setImmediate)
  own.fate = () => Promise.reject(new Error('it is dead'))
  const waiting = observer.waitWhilePending([digest])
  await clock.advance(abandonedAfterMs - times.pollMs)
  t.equal(await isSettled(waiting), false)
  await clock.advance(times.pollMs * 3)
  await waiting
})
