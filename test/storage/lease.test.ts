import { type Test, test } from 'tap'
import { acquireLease, type Lease, observeLease } from '../../storage/lease.ts'
import type { S3Storage } from '../../storage/s3/s3.ts'
import { createTestClock } from '../support/clock.ts'
import { createConditionalObjects } from '../support/conditional-objects.ts'
import type { Fate } from '../support/s3-proxy.ts'
import { proxyS3 } from '../support/s3-proxy.ts'
import { makeBucket, openS3, type S3Server, startS3 } from '../support/s3-server.ts'

const key = '.registry/lease/test'
type Headers = NodeJS.Dict<string | string[]>

const times = { ttlMs: 60_000, settleMs: 200 }

async function acquire(t: Test, { conditionalObjects }: S3Storage): Promise<Lease | undefined> {
  const lease = await acquireLease(conditionalObjects, key, times)
  t.teardown(() => lease?.release())
  return lease
}

/** Two storages in one bucket, each behind its own proxy. */
async function two(t: Test, server: S3Server) {
  const bucket = makeBucket(server)
  const proxies = [await proxyS3(t, server), await proxyS3(t, server)] as const
  return { proxies, one: await openS3(t, proxies[0], { bucket }), other: await openS3(t, proxies[1], { bucket }) }
}

test('leases in a bucket', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('lease: one process at a time holds it, and the next one after its release', async t => {
    const { one, other } = await two(t, server)
    t.equal(await one.conditionalObjects.isReplaceAtomic(), true)
    const first = await acquire(t, one)
    t.ok(first)
    t.equal(await acquire(t, other), undefined)
    await first?.announce(['a', 'b'])
    t.match(await observeLease(other.conditionalObjects, key), { held: true, announced: ['a', 'b'] })
    await first?.release()
    t.match(await observeLease(other.conditionalObjects, key), { held: false, announced: [] })
    t.ok(await acquire(t, other))
    t.throws(() => first?.check(), { name: 'LeaseLostError' })
  })

  await t.test('lease: of many processes that acquire it at once one gets it, the first time and after each release', async t => {
    const { one, other } = await two(t, server)
    for (let round = 0; round < 3; round++) {
      const all = await Promise.all([one, other, one, other, one, other].map(each => acquire(t, each)))
      t.equal(all.filter(each => each !== undefined).length, 1)
      await all.find(each => each !== undefined)?.release()
    }
  })

  await t.test('lease: where another process took it, the next announcement is rejected', async t => {
    const { one, other } = await two(t, server)
    const lease = await acquire(t, one)
    const seen = await other.conditionalObjects.get(key)
    t.ok(await other.conditionalObjects.replace(key, Buffer.from('{"owner":"x","turn":1,"lasts":60000,"said":[]}'), seen?.version))
    await t.rejects(lease?.announce(['a']) ?? Promise.resolve(), { name: 'LeaseLostError' })
    t.ok(lease?.signal.aborted)
  })

  await t.test('lease: a service without conditional puts is detected, and the lease is read back after its put', async t => {
    for (const response of [
      { status: 501, code: 'NotImplemented' },
      { status: 200, code: 'Ignored' }
    ]) {
      const conditional = (headers: Headers) => headers['if-match'] !== undefined || headers['if-none-match'] !== undefined
      const fate = (_method: string, _path: string, headers: Headers): Fate => (conditional(headers) ? response : 'pass')
      const { one, other, proxies } = await two(t, server)
      for (const proxy of proxies) proxy.fate = fate
      t.equal(await one.conditionalObjects.isReplaceAtomic(), false)
      const all = await Promise.all([one, other, one, other].map(each => acquire(t, each)))
      t.equal(all.filter(each => each !== undefined).length, 1)
      t.equal(await acquire(t, other), undefined)
      const [lease] = all.filter(each => each !== undefined)
      await lease?.announce(['a'])
      t.match(await observeLease(other.conditionalObjects, key), { held: true, announced: ['a'] })
    }
  })
})

/** A lease on a clock that the test moves, and the objects as another process sees them. */
async function onTestClock(t: Test) {
  const clock = createTestClock()
  const objects = createConditionalObjects(clock)
  const other = () => acquireLease(objects.view(), key, times, clock)
  const mine = objects.view()
  const lease = await acquireLease(mine, key, times, clock)
  if (!lease) throw new Error('the lease is free')
  t.teardown(() => lease.abandon())
  return { clock, lease, mine, other, observe: () => observeLease(objects.view(), key) }
}

test('lease: it is renewed in time, and no other process gets it meanwhile', async t => {
  const { clock, lease, other, observe } = await onTestClock(t)
  const versions = new Set([(await observe())?.version])
  for (let quarter = 1; quarter <= 8; quarter++) {
    await clock.advance(times.ttlMs / 4)
    t.equal(await other(), undefined)
    versions.add((await observe())?.version)
  }
  t.equal(versions.size, 9, 'one renewal per quarter of its time')
  lease.check()
})

test('lease: a process that cannot renew it knows before another process has it', async t => {
  const { clock, lease, mine, other } = await onTestClock(t)
  mine.fate = () => Promise.reject(new Error('the service does not answer'))
  await clock.advance(times.ttlMs * 0.75 - 1)
  t.notOk(lease.signal.aborted)
  t.equal(await other(), undefined)
  await clock.advance(1)
  t.ok(lease.signal.aborted)
  await t.rejects(lease.announce([]), { name: 'LeaseLostError' })
  t.equal(await other(), undefined, 'it has not expired yet')
  await clock.advance(times.ttlMs * 0.25 + 1_000)
  const next = await other()
  t.ok(next, 'one whose process is gone is taken over')
  next?.abandon()
})

test('lease: the next renewal keeps what was announced during a slow renewal', async t => {
  const { clock, lease, mine, observe } = await onTestClock(t)
  await lease.announce(['old'])
  const gate = Promise.withResolvers<void>()
  let puts = 0
  mine.fate = call => {
    if (call === 'replace') puts++
    return gate.promise
  }
  await clock.advance(times.ttlMs / 4)
  t.equal(puts, 1, 'a renewal is under way')
  const announced = lease.announce(['new'])
  await clock.advance(times.ttlMs / 4)
  t.equal(puts, 1, 'the next one waits for it')
  gate.resolve()
  await announced
  await clock.advance(0)
  t.equal(puts, 3)
  t.match(await observe(), { announced: ['new'] })
})

test('lease: where puts are not conditional, the last of several puts holds after a while', async t => {
  const clock = createTestClock()
  const objects = createConditionalObjects(clock, 'last put wins')
  const both = Promise.all([1, 2].map(() => acquireLease(objects.view(), key, times, clock)))
  await clock.whenWaiting(4)
  await clock.advance(times.settleMs)
  const [first, second] = await both
  t.equal(first, undefined)
  t.ok(second)
  second?.check()
  second?.abandon()
})
