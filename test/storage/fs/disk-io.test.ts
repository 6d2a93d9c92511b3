import { execFileSync } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { DiskIo, type IoKind } from '../../../storage/fs/disk-io.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { openStorage } from '../../support/storage.ts'

// 50 times as impatient as in production.
const interval = 10

/** A disk whose calls end when they are told to, and what was said of it. */
function disk(t: Test, probe: () => Promise<unknown> = () => new Promise(() => {})) {
  const told: IoKind[][] = []
  const made = new DiskIo(probe, { threadPoolSize: 16, checkIntervalMs: interval, onStallChange: stalled => void told.push([...stalled]) })
  // A real call keeps the process, these do not.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => {
    clearInterval(alive)
    made.close()
  })
  const hang = (kind: 'read' | 'write' = 'write', late?: (value: string) => void) => {
    const call = Promise.withResolvers<string>()
    const begun = { yes: false }
    const result = made[kind](() => {
      begun.yes = true
      return call.promise
    }, late)
    result.catch(() => {})
    return { ...call, begun, result }
  }
  return { disk: made, told, hang }
}

const ready = async () => 'ready'

test('disk: calls that return are not noticed, whatever their number', async t => {
  const { disk: made, told } = disk(t)
  const all = await Promise.all(Array.from({ length: 500 }, (_, at) => made[at % 2 ? 'read' : 'write'](async () => at)))
  t.strictSame(
    all,
    Array.from({ length: 500 }, (_, at) => at)
  )
  t.equal(made.running, 0)
  t.strictSame(told, [])
})

test('disk: no more calls are with the kernel than leave four threads to others, and the rest go on in order', async t => {
  const { disk: made, hang } = disk(t)
  const calls = Array.from({ length: 20 }, () => hang('write'))
  const reads = Array.from({ length: 20 }, () => hang('read'))
  t.equal(calls.filter(each => each.begun.yes).length + reads.filter(each => each.begun.yes).length, 12)
  t.equal(made.running, 12)
  for (const [at, each] of calls.entries()) {
    t.ok(each.begun.yes, `call ${at} began in its turn`)
    each.resolve('')
    await each.result
  }
  for (const each of reads) each.resolve('')
})

test('disk: silence is a stall: all callers are told, new ones at once, and it is told once', async t => {
  const { disk: made, told, hang } = disk(t)
  const calls = Array.from({ length: 8 }, () => hang())
  for (const { result } of calls) await t.rejects(result, { code: 'ESTALLED' })
  t.strictSame(made.stalled, ['writes'])
  await t.rejects(made.write(ready), { code: 'ESTALLED', underway: false })
  t.equal(await made.read(ready), 'ready', 'what is only written to can be read')
  t.strictSame(told, [['writes']])
})

test('disk: a call that was refused holds no memory, one that hangs does', async t => {
  const { hang } = disk(t)
  const calls = Array.from({ length: 8 }, () => hang('read'))
  for (const { result, begun } of calls) await t.rejects(result, { code: 'ESTALLED', underway: begun.yes })
  t.strictSame(
    calls.map(each => each.begun.yes),
    [true, true, true, true, true, true, true, false]
  )
})

test('disk: when a call returns after all, everything goes on, and it is told once', async t => {
  const { disk: made, told, hang } = disk(t)
  const late: string[] = []
  const call = hang('write', value => late.push(value))
  await t.rejects(call.result, { code: 'ESTALLED' })
  const closed: string[] = []
  await made.finish('writes', async () => closed.push('closed'))
  t.strictSame(closed, [], 'nobody waits for what can be done later')
  call.resolve('a handle')
  t.equal(await eventually(() => made.write(ready)), 'ready')
  t.strictSame(late, ['a handle'])
  t.strictSame(closed, ['closed'])
  t.strictSame(told, [['writes'], []])
})

test('disk: when only a trial returns, everything goes on as well', async t => {
  const trial = Promise.withResolvers<void>()
  const { disk: made, told, hang } = disk(t, () => trial.promise)
  await t.rejects(hang('write').result, { code: 'ESTALLED' })
  trial.resolve()
  t.equal(await eventually(() => made.write(ready)), 'ready')
  t.strictSame(told, [['writes'], []])
})

test('disk: a call that hangs while the disk works is given up alone, and nothing is told', async t => {
  const { disk: made, told, hang } = disk(t, ready)
  await t.rejects(hang().result, { code: 'ESTALLED', underway: true })
  t.equal(await made.write(ready), 'ready')
  await delay(30 * interval)
  t.strictSame(told, [])
})

test('disk: when such calls have taken all places, that is a stall', async t => {
  const { disk: made, told, hang } = disk(t, ready)
  const calls = Array.from({ length: 9 }, () => hang())
  for (const { result } of calls) await t.rejects(result, { code: 'ESTALLED' })
  t.strictSame(told, [['writes']])
  for (const each of calls) each.resolve('')
  t.equal(await eventually(() => made.write(ready)), 'ready')
  t.strictSame(told, [['writes'], []])
})

test('disk: a call that fails, also by throwing, frees its place', async t => {
  const { disk: made } = disk(t)
  for (let at = 0; at < 20; at++) {
    await t.rejects(
      made.write(() => Promise.reject(new Error('EIO'))),
      /EIO/
    )
    await t.rejects(made.write(() => { throw new Error('at once') }), /at once/) // biome-ignore format: one line
  }
  t.equal(made.running, 0)
})

async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch {
      await delay(interval)
    }
  }
}

test('storage: files that hang in the kernel take neither the names of hosts nor the answers of others, and all is well when they return', async t => {
  const root = await temporaryDirectory(t)
  const told: IoKind[][] = []
  const changed = (stalled: readonly IoKind[]) => void told.push([...stalled])
  const storage = await openStorage(t, root, { disk: { checkIntervalMs: 50, onStallChange: changed } })
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
  // Whoever waits for a writer gets one.
  const writer = await open(pipe, 'r+')
  t.equal((await eventually(() => storage.get('a/object')))?.toString(), 'sound')
  await writer.close()
  await rm(pipe)
  while (told.length < 2) await delay(interval)
  t.strictSame(told, [['reads'], []])
  while (storage.running > 0) await delay(interval)
})
