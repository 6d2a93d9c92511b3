import { execFileSync } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { DiskIo, type IoKind } from '../../../storage/fs/disk-io.ts'
import { createTestClock } from '../../support/clock.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { openStorage } from '../../support/storage.ts'

const tickMs = 500

/** A disk whose calls end when the test says so, on a clock that the test moves, and the stalls that were reported. */
function setUp(t: Test, probe: () => Promise<unknown> = () => new Promise(() => {})) {
  const reported: IoKind[][] = []
  const clock = createTestClock()
  const disk = new DiskIo(probe, {
    threadPoolSize: 16,
    checkIntervalMs: tickMs,
    clock,
    onStallChange: stalled => void reported.push([...stalled])
  })
  t.teardown(() => disk.close())
  const hang = (kind: 'read' | 'write' = 'write', onLate?: (value: string) => void) => {
    const call = Promise.withResolvers<string>()
    const begun = { yes: false }
    const result = disk[kind](() => {
      begun.yes = true
      return call.promise
    }, onLate)
    result.catch(() => {})
    return { ...call, begun, result }
  }
  const ticks = (count: number) => clock.advance(count * tickMs)
  return { disk, reported, hang, ticks }
}

const ready = async () => 'ready'

test('disk: calls that return are not noticed, whatever their number', async t => {
  const { disk, reported } = setUp(t)
  const all = await Promise.all(Array.from({ length: 500 }, (_, at) => disk[at % 2 ? 'read' : 'write'](async () => at)))
  t.strictSame(
    all,
    Array.from({ length: 500 }, (_, at) => at)
  )
  t.equal(disk.running, 0)
  t.strictSame(reported, [])
})

test('disk: no more calls are with the kernel than leave four threads to others, and the rest go on in order', async t => {
  const { disk, hang } = setUp(t)
  const calls = Array.from({ length: 20 }, () => hang('write'))
  const reads = Array.from({ length: 20 }, () => hang('read'))
  t.equal(calls.filter(each => each.begun.yes).length + reads.filter(each => each.begun.yes).length, 12)
  t.equal(disk.running, 12)
  for (const [at, each] of calls.entries()) {
    t.ok(each.begun.yes, `call ${at} began in its turn`)
    each.resolve('')
    await each.result
  }
  for (const each of reads) each.resolve('')
})

test('disk: silence is a stall: waiting calls are rejected, new ones at once, and it is reported once', async t => {
  const { disk, reported, hang, ticks } = setUp(t)
  const calls = Array.from({ length: 8 }, () => hang())
  await ticks(9)
  t.strictSame(disk.stalled, [], 'not after 4.5 s')
  await ticks(2)
  for (const { result } of calls) await t.rejects(result, { code: 'ESTALLED' })
  t.strictSame(disk.stalled, ['writes'])
  await t.rejects(disk.write(ready), { code: 'ESTALLED', underway: false })
  t.equal(await disk.read(ready), 'ready', 'what is only written to can be read')
  await ticks(20)
  t.strictSame(reported, [['writes']])
})

test('disk: a call that was refused holds no memory, one that hangs does', async t => {
  const { hang, ticks } = setUp(t)
  const calls = Array.from({ length: 8 }, () => hang('read'))
  await ticks(11)
  for (const { result, begun } of calls) await t.rejects(result, { code: 'ESTALLED', underway: begun.yes })
  t.strictSame(
    calls.map(each => each.begun.yes),
    [true, true, true, true, true, true, true, false]
  )
})

test('disk: when a call returns after all, everything goes on, and it is reported once', async t => {
  const { disk, reported, hang, ticks } = setUp(t)
  const late: string[] = []
  const call = hang('write', value => late.push(value))
  await ticks(11)
  await t.rejects(call.result, { code: 'ESTALLED' })
  const closed: string[] = []
  await disk.finish('writes', async () => closed.push('closed'))
  t.strictSame(closed, [], 'what can be done later keeps no caller waiting')
  call.resolve('a handle')
  await ticks(2)
  t.equal(await disk.write(ready), 'ready')
  t.strictSame(late, ['a handle'])
  t.strictSame(closed, ['closed'])
  t.strictSame(reported, [['writes'], []])
})

test('disk: when only a probe returns, everything goes on as well', async t => {
  const probe = Promise.withResolvers<void>()
  const { disk, reported, hang, ticks } = setUp(t, () => probe.promise)
  const { result } = hang('write')
  await ticks(11)
  await t.rejects(result, { code: 'ESTALLED' })
  probe.resolve()
  await ticks(2)
  t.equal(await disk.write(ready), 'ready')
  t.strictSame(reported, [['writes'], []])
})

test('disk: a call that hangs while the disk works is given up alone, and nothing is reported', async t => {
  const { disk, reported, hang, ticks } = setUp(t, ready)
  const { result } = hang()
  await ticks(16)
  await t.rejects(result, { code: 'ESTALLED', underway: true })
  t.equal(await disk.write(ready), 'ready')
  await ticks(30)
  t.strictSame(reported, [])
})

test('disk: when such calls have all slots, that is a stall', async t => {
  const { disk, reported, hang, ticks } = setUp(t, ready)
  const calls = Array.from({ length: 9 }, () => hang())
  await ticks(16)
  for (const { result } of calls) await t.rejects(result, { code: 'ESTALLED' })
  t.strictSame(reported, [['writes']])
  for (const each of calls) each.resolve('')
  await ticks(2)
  t.equal(await disk.write(ready), 'ready')
  t.strictSame(reported, [['writes'], []])
})

test('disk: a call that fails, also by throwing, frees its slot', async t => {
  const { disk } = setUp(t)
  for (let at = 0; at < 20; at++) {
    await t.rejects(
      disk.write(() => Promise.reject(new Error('EIO'))),
      /EIO/
    )
    await t.rejects(disk.write(() => { throw new Error('at once') }), /at once/) // biome-ignore format: one line
  }
  t.equal(disk.running, 0)
})

async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch {
      await delay(10)
    }
  }
}

test('storage: files that hang in the kernel take neither the names of hosts nor the answers of others, and all is well when they return', async t => {
  const root = await temporaryDirectory(t)
  const reported: IoKind[][] = []
  const onStallChange = (stalled: readonly IoKind[]) => void reported.push([...stalled])
  const storage = await openStorage(t, root, { disk: { checkIntervalMs: 50, onStallChange } })
  await storage.put('a/object', Buffer.from('sound'))
  const pipe = join(root, 'a/pipe')
  execFileSync('mkfifo', [pipe])
  const reads = Array.from({ length: 100 }, () => storage.open('a/pipe').then(() => 'opened', (error: NodeJS.ErrnoException) => error.code)) // biome-ignore format: one line
  await lookup('localhost')
  t.strictSame(new Set(await Promise.all(reads)), new Set(['ESTALLED']))
  t.strictSame((await storage.usage()).stalled, ['reads'])
  t.ok((await storage.usage()).total > 0, 'as it was')
  await t.rejects(storage.get('a/object'), { code: 'ESTALLED' })
  await storage.put('a/other', Buffer.from('x'))
  // The kernel opens the pipe for its readers once it has a writer.
  const writer = await open(pipe, 'r+')
  t.equal((await eventually(() => storage.get('a/object')))?.toString(), 'sound')
  await writer.close()
  await rm(pipe)
  while (reported.length < 2) await delay(10)
  t.strictSame(reported, [['reads'], []])
  while (storage.running > 0) await delay(10)
})
