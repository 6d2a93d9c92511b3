import { type Test, test } from 'tap'
import { Schedule, startInterval } from '../../../src/app/schedule.ts'
import { createCoordination } from '../../../src/content/shared/coordination.ts'
import type { Storage } from '../../../storage/storage.ts'
import { createTestClock, type TestClock } from '../../support/clock.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const minute = 60_000
const hour = 60 * minute
const began = Date.UTC(2030, 0, 1)

/** Moves the time on by `ms`, and waits for each run that is due. */
async function pass(clock: TestClock, ms: number): Promise<void> {
  const end = clock.now() + ms
  for (let due = clock.nextDue; due !== undefined && due <= end; due = clock.nextDue) {
    await clock.advance(due - clock.now())
    // A run has written its state when the schedule waits again.
    await clock.whenWaiting()
  }
  await clock.advance(end - clock.now())
}

/** A schedule, and its runs in hours since the start of the test. */
async function scheduled(
  t: Test,
  storage: Storage,
  clock: TestClock,
  { every = 24 * hour, outcomes = [] as boolean[], random = (): number => 0.5 } = {}
) {
  const ran: number[] = []
  const run = async () => {
    ran.push((clock.now() - began) / hour)
    return outcomes.shift() ?? true
  }
  const settings = { every }
  const schedule = new Schedule({
    storage,
    coordination: createCoordination(storage),
    every: () => settings.every,
    run,
    onWake: () => {},
    clock,
    random
  })
  await schedule.start()
  t.teardown(() => schedule.stop())
  return { schedule, ran, settings }
}

test('schedule: it runs first after one interval, and then again after each success', async t => {
  const clock = createTestClock(began)
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock)
  t.equal(schedule.succeeded, undefined)
  await pass(clock, 73 * hour)
  t.strictSame(ran, [24, 48, 72])
  t.equal(schedule.succeeded, began + 72 * hour)
})

test('schedule: a restart does not begin an interval anew', async t => {
  const [storage, clock] = [await openStorage(t), createTestClock(began)]
  const first = await scheduled(t, storage, clock)
  await pass(clock, 20 * hour)
  await first.schedule.stop()
  const second = await scheduled(t, storage, clock)
  await pass(clock, 5 * hour)
  t.strictSame([first.ran, second.ran], [[], [24]])
  await second.schedule.stop()
  const third = await scheduled(t, storage, clock)
  t.equal(third.schedule.succeeded, began + 24 * hour)
  await pass(clock, 24 * hour)
  t.strictSame(third.ran, [48])
})

test('schedule: an overdue run waits until the start is over', async t => {
  const [storage, clock] = [await openStorage(t), createTestClock(began)]
  await (await scheduled(t, storage, clock)).schedule.stop()
  await clock.advance(100 * hour)
  const { ran } = await scheduled(t, storage, clock)
  await pass(clock, 4 * minute)
  t.strictSame(ran, [])
  await pass(clock, 2 * minute)
  t.equal(ran.length, 1)
})

test('schedule: a run that failed is tried again after an hour', async t => {
  const clock = createTestClock(began)
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock, { outcomes: [false, false] })
  await pass(clock, 30 * hour)
  t.strictSame(ran, [24, 25, 26])
  t.equal(schedule.succeeded, began + 26 * hour)
})

test('schedule: a run that was started otherwise counts', async t => {
  const clock = createTestClock(began)
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock)
  await pass(clock, 23 * hour)
  await schedule.recordSuccess()
  await pass(clock, 23 * hour)
  t.strictSame(ran, [])
  await pass(clock, 2 * hour)
  t.strictSame(ran, [47])
})

test('schedule: a changed interval is seen within minutes', async t => {
  const clock = createTestClock(began)
  const { ran, settings } = await scheduled(t, await openStorage(t), clock)
  await pass(clock, 2 * hour)
  settings.every = hour
  await pass(clock, 10 * minute)
  t.equal(ran.length, 1)
})

test('schedule: nodes that start together do not run together', async t => {
  const times: number[] = []
  for (const random of [0, 0.5, 0.999]) {
    const clock = createTestClock(began)
    const { ran } = await scheduled(t, await openStorage(t), clock, { random: () => random })
    await pass(clock, 27 * hour)
    times.push(Math.round((ran[0] ?? 0) * 10) / 10)
  }
  t.strictSame(times, [21.6, 24, 26.4])
})

test('schedule: neither a storage that takes no writes nor an unreadable state keeps it from running', async t => {
  const clock = createTestClock(began)
  const below = await openStorage(t)
  await below.put('.registry/gc', Buffer.from('no state'))
  const full = watchStorage(below, call => {
    if (call === 'put') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  })
  const { ran } = await scheduled(t, full, clock)
  await pass(clock, 49 * hour)
  t.strictSame(ran, [24, 48])
})

test('schedule: it does not run after it was stopped', async t => {
  const clock = createTestClock(began)
  const { schedule } = await scheduled(t, await openStorage(t), clock)
  await schedule.stop()
  t.equal(clock.waiting, 0)
})

test('interval: a run begins after the end of the one before, and none after it was stopped', async t => {
  const clock = createTestClock(began)
  const runs: PromiseWithResolvers<void>[] = []
  const stop = startInterval(
    minute,
    () => {
      const run = Promise.withResolvers<void>()
      runs.push(run)
      return run.promise
    },
    clock
  )
  await clock.advance(minute)
  t.equal(runs.length, 1)
  await clock.advance(hour)
  t.equal(runs.length, 1, 'it is still running')
  runs[0]?.resolve()
  await clock.whenWaiting()
  await clock.advance(minute)
  t.equal(runs.length, 2)
  let stopped = false
  const stopping = stop().then(() => {
    stopped = true
  })
  await new Promise(setImmediate)
  t.equal(stopped, false, 'the run under way has not ended')
  runs[1]?.resolve()
  await stopping
  await clock.advance(hour)
  t.equal(runs.length, 2)
})
