import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import type { ScrubEvent } from '../../../src/operations/events.ts'
import { createReadRate, rateFor } from '../../../src/operations/read-rate.ts'
import { ScrubCycles } from '../../../src/operations/scrub-cycles.ts'
import type { Storage } from '../../../storage/storage.ts'
import { neverAborted, pushBlob } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'
import { flip, name, pushImage, treeFor } from './scene.ts'

const day = 24 * 3_600_000
const MIB = 1024 * 1024

/** A clock that only sleeping moves; after `maxSleeps` it ends the work. */
function clockOf(ended: AbortController, maxSleeps = 10_000) {
  const slept: number[] = []
  let now = Date.parse('2026-01-01')
  const sleep = async (ms: number, signal: AbortSignal) => {
    signal.throwIfAborted()
    slept.push(ms)
    now += ms
    if (slept.length >= maxSleeps) ended.abort()
    await new Promise(resolve => setImmediate(resolve))
    signal.throwIfAborted()
  }
  return { slept, times: { now: () => now, sleep } }
}

/** Scrub cycles over a tree, until `until` holds for an event. */
async function run(
  t: Parameters<typeof treeFor>[0],
  { storage, every = 30 * day, until }: { storage?: Storage; every?: number; until: (event: ScrubEvent) => boolean }
) {
  const tree = await treeFor(t, storage)
  await tree.content.quarantine.load()
  const ended = new AbortController()
  const { slept, times } = clockOf(ended)
  const events: { event: ScrubEvent; at: number }[] = []
  const failures: string[] = []
  const cycles = new ScrubCycles({
    tree: { ...tree, now: times.now },
    everyMs: () => every,
    busy: () => false,
    report: event => {
      events.push({ event, at: times.now() })
      if (until(event)) ended.abort()
    },
    failed: error => failures.push(error.message),
    clock: times
  })
  return { tree, cycles, ended, events, slept, failures, done: () => cycles.run(ended.signal), now: times.now }
}

test('read rate: bytes are read no faster than the rate, and a pause is not made up for', async t => {
  const { times, slept } = clockOf(new AbortController())
  const readRate = createReadRate(
    () => 1000,
    () => false,
    times
  )
  const began = times.now()
  for (let at = 0; at < 100; at++) await readRate(100, neverAborted)
  const took = times.now() - began
  t.ok(took >= 9_950 && took <= 10_000, `${took}`)
  await times.sleep(60_000, neverAborted)
  const rested = times.now()
  for (let at = 0; at < 10; at++) await readRate(100, neverAborted)
  t.ok(times.now() - rested >= 950, 'after a rest it is as slow')
  t.ok(slept.every(ms => ms > 0))
})

test('read rate: while requests are being answered each read waits', async t => {
  const { times, slept } = clockOf(new AbortController())
  let busy = true
  const readRate = createReadRate(
    () => Number.POSITIVE_INFINITY,
    () => busy,
    times
  )
  await readRate(1, neverAborted)
  busy = false
  await readRate(1, neverAborted)
  t.equal(slept.length, 1)
})

test('read rate: the rate is that of a cycle, between a floor and a ceiling', t => {
  t.equal(rateFor(0, 30 * day), MIB)
  t.equal(rateFor(10 * 2 ** 40, day), 64 * MIB)
  t.equal(rateFor(4 * MIB * (day / 1_000), day), 4 * MIB)
  t.end()
})

test('scrub cycles: all is read once within the time, and again when it is over, not before', async t => {
  const tree = await treeFor(t)
  await pushImage(tree.content)
  let count = 0
  const scene = await run(t, { storage: tree.storage, until: event => event.type === 'done' && ++count === 3 })
  await scene.done()
  const ends = scene.events.filter(({ event }) => event.type === 'done').map(({ at }) => at)
  t.equal(ends.length, 3)
  for (const [at, end] of ends.slice(1).entries()) {
    const apart = end - (ends[at] ?? 0)
    t.ok(apart > 29.9 * day && apart < 30.1 * day, `${apart / day} days`)
  }
  t.ok(
    scene.slept.every(ms => ms < 2 ** 31),
    'a timer can do it'
  )
})

test('scrub cycles: a restart resumes the cycle, and counts what was found before it', async t => {
  const tree = await treeFor(t)
  const digests = (await Promise.all(Array.from({ length: 20 }, (_, at) => pushBlob(tree.content, name, `blob ${at}`)))).sort()
  await flip(tree.storage, digests[3] ?? digests[0] ?? ('' as never))
  const reads: string[] = []
  const counting = (stop?: () => void) =>
    watchStorage(tree.storage, (call, key) => {
      if (call !== 'open' || !key.startsWith(keys.blobs)) return
      reads.push(key)
      if (reads.length === 12) stop?.()
    })
  let stop = () => {}
  const first = await run(t, { storage: counting(() => stop()), until: () => false })
  stop = () => first.ended.abort()
  await first.done()
  t.ok(first.cycles.status.done > 0 && first.cycles.status.done < 1, `${first.cycles.status.done}`)
  const before = reads.length
  const second = await run(t, { storage: counting(), until: event => event.type === 'done' })
  await second.done()
  t.ok(reads.length - before < 12, `${reads.length - before} of 20 are read again`)
  t.match(second.cycles.status, { done: 1, last: { damaged: 1 } })
})

test('scrub cycles: an unreadable position begins a new cycle', async t => {
  for (const text of ['', 'nonsense', '[]', '{"round":{"began":"yesterday"},"last":5}', 'null']) {
    const storage = await openStorage(t)
    await storage.put(keys.scrubPosition, Buffer.from(text))
    const scene = await run(t, { storage, until: event => event.type === 'done' })
    await scene.done()
    t.match(scene.cycles.status, { done: 1, last: { damaged: 0 } }, text)
  }
})

test('scrub cycles: a clock that was set back does not delay the next cycle by years', async t => {
  const storage = await openStorage(t)
  const later = Date.parse('2036-01-01')
  await storage.put(keys.scrubPosition, Buffer.from(JSON.stringify({ last: { began: later, ended: later, damaged: 0 } })))
  const scene = await run(t, { storage, until: event => event.type === 'done' })
  const began = scene.now()
  await scene.done()
  t.equal(scene.events.filter(({ event }) => event.type === 'done').length, 1)
  t.ok(scene.now() - began < 31 * day, `${(scene.now() - began) / day} days`)
})

test('scrub cycles: a failed one is reported, and resumes after a pause', async t => {
  const below = await openStorage(t)
  let faults = 2
  const storage: Storage = {
    ...watchStorage(below, () => {}),
    walk: (prefix, after) => {
      if (prefix === keys.repositories && faults-- > 0) throw new Error('the disk is gone')
      return below.walk(prefix, after)
    }
  }
  const scene = await run(t, { storage, until: event => event.type === 'done' })
  await scene.done()
  t.strictSame(scene.failures, ['the disk is gone', 'the disk is gone'])
})

test('scrub cycles: a scrub by a command counts as a cycle', async t => {
  const scene = await run(t, { until: () => true })
  const done = { type: 'done', blobs: 1, bytes: 1, repositories: 1, damaged: 3, mended: 1, warnings: 0 } as const
  await scene.cycles.completed(scene.now() - 5, done)
  t.match(scene.cycles.status, { done: 1, last: { damaged: 2 } })
})
