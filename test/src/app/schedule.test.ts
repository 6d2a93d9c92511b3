import { type Test, test } from 'tap'
import { Schedule, type Time } from '../../../src/app/schedule.ts'
import type { Storage } from '../../../storage/storage.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const minute = 60_000
const hour = 60 * minute
const began = Date.UTC(2030, 0, 1)

/** A clock that stands still until it is told to go on. */
class Clock implements Time {
  at = began
  #waiting: { at: number; task: () => void } | undefined

  now = () => this.at
  random = () => 0.5

  after = (ms: number, task: () => void) => {
    const mine = { at: this.at + ms, task }
    this.#waiting = mine
    return () => {
      if (this.#waiting === mine) this.#waiting = undefined
    }
  }

  get waits(): boolean {
    return this.#waiting !== undefined
  }

  /** Lets `ms` go by, and everything happen that is due in them. */
  async pass(ms: number): Promise<void> {
    const end = this.at + ms
    while (this.#waiting && this.#waiting.at <= end) {
      const { at, task } = this.#waiting
      this.at = at
      this.#waiting = undefined
      task()
      // What was begun has written its state when it waits again.
      while (!this.#waiting) await new Promise(setImmediate)
    }
    this.at = end
  }
}

/** A schedule, and when it ran, in hours from the beginning of the test. */
async function scheduled(t: Test, storage: Storage, clock: Clock, { every = 24 * hour, outcomes = [] as boolean[] } = {}) {
  const ran: number[] = []
  const run = async () => {
    ran.push((clock.at - began) / hour)
    return outcomes.shift() ?? true
  }
  const settings = { every }
  const schedule = new Schedule({ storage, every: () => settings.every, run, onWake: () => {}, clock: clock })
  await schedule.start()
  t.teardown(() => schedule.stop())
  return { schedule, ran, settings }
}

test('schedule: it runs first when its time has passed once, and then again after each success', async t => {
  const clock = new Clock()
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock)
  t.equal(schedule.succeeded, undefined)
  await clock.pass(73 * hour)
  t.strictSame(ran, [24, 48, 72])
  t.equal(schedule.succeeded, began + 72 * hour)
})

test('schedule: a restart does not begin the time anew', async t => {
  const [storage, clock] = [await openStorage(t), new Clock()]
  const first = await scheduled(t, storage, clock)
  await clock.pass(20 * hour)
  await first.schedule.stop()
  const second = await scheduled(t, storage, clock)
  await clock.pass(5 * hour)
  t.strictSame([first.ran, second.ran], [[], [24]])
  await second.schedule.stop()
  const third = await scheduled(t, storage, clock)
  t.equal(third.schedule.succeeded, began + 24 * hour)
  await clock.pass(24 * hour)
  t.strictSame(third.ran, [48])
})

test('schedule: what is overdue at a start still lets the start be over first', async t => {
  const [storage, clock] = [await openStorage(t), new Clock()]
  await (await scheduled(t, storage, clock)).schedule.stop()
  clock.at += 100 * hour
  const { ran } = await scheduled(t, storage, clock)
  await clock.pass(4 * minute)
  t.strictSame(ran, [])
  await clock.pass(2 * minute)
  t.equal(ran.length, 1)
})

test('schedule: what failed is tried again after an hour', async t => {
  const clock = new Clock()
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock, { outcomes: [false, false] })
  await clock.pass(30 * hour)
  t.strictSame(ran, [24, 25, 26])
  t.equal(schedule.succeeded, began + 26 * hour)
})

test('schedule: a run that was begun elsewhere counts', async t => {
  const clock = new Clock()
  const { ran, schedule } = await scheduled(t, await openStorage(t), clock)
  await clock.pass(23 * hour)
  await schedule.recordSuccess()
  await clock.pass(23 * hour)
  t.strictSame(ran, [])
  await clock.pass(2 * hour)
  t.strictSame(ran, [47])
})

test('schedule: a changed interval is seen within minutes', async t => {
  const clock = new Clock()
  const { ran, settings } = await scheduled(t, await openStorage(t), clock)
  await clock.pass(2 * hour)
  settings.every = hour
  await clock.pass(10 * minute)
  t.equal(ran.length, 1)
})

test('schedule: nodes that began together do not run together', async t => {
  const times: number[] = []
  for (const random of [0, 0.5, 0.999]) {
    const clock = Object.assign(new Clock(), { random: () => random })
    const { ran } = await scheduled(t, await openStorage(t), clock)
    await clock.pass(27 * hour)
    times.push(Math.round((ran[0] ?? 0) * 10) / 10)
  }
  t.strictSame(times, [21.6, 24, 26.4])
})

test('schedule: a medium that takes nothing, and a state that cannot be read, keep nothing from running', async t => {
  const clock = new Clock()
  const below = await openStorage(t)
  await below.put('.registry/gc', Buffer.from('no state'))
  const full = watchStorage(below, call => {
    if (call === 'put') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  })
  const { ran } = await scheduled(t, full, clock)
  await clock.pass(49 * hour)
  t.strictSame(ran, [24, 48])
})

test('schedule: what is stopped runs no more', async t => {
  const clock = new Clock()
  const { schedule } = await scheduled(t, await openStorage(t), clock)
  await schedule.stop()
  t.notOk(clock.waits)
})
