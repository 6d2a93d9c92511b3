import { type Test, test } from 'tap'
import { Holds } from '../../../src/content/holds.ts'
import * as keys from '../../../src/content/keys.ts'
import { createCoordination } from '../../../src/content/shared/coordination.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const digest = digestOf(Buffer.from('bytes'))
const other = digestOf(Buffer.from('others'))
const turn = () => new Promise(resolve => setImmediate(resolve))

async function openHolds(t: Test): Promise<Holds> {
  const storage = await openStorage(t)
  return new Holds(storage, createCoordination(storage))
}

test('holds: a digest is not removed until its last hold is released', async t => {
  const holds = await openHolds(t)
  const [first, second] = [await holds.hold(digest), await holds.hold(digest)]
  const remove = () => holds.remove(digest, async () => true)
  t.equal(await remove(), false)
  first()
  first()
  t.equal(await remove(), false, 'a release that is called twice counts once')
  second()
  t.equal(await remove(), true)
})

test('holds: a hold of bytes that are being removed waits for the end, and others do not', async t => {
  const holds = await openHolds(t)
  const gate = Promise.withResolvers<boolean>()
  const removal = holds.remove(digest, () => gate.promise)
  let held = false
  const waiting = holds.hold(digest).then(() => {
    held = true
  })
  await holds.hold(other)
  await turn()
  t.equal(held, false)
  t.equal(await holds.remove(digest, async () => t.fail('a second removal began')), false)
  gate.resolve(true)
  t.equal(await removal, true)
  await waiting
  t.equal(held, true)
})

test('holds: a removal that fails lets waiting holds go on', async t => {
  const holds = await openHolds(t)
  await t.rejects(
    holds.remove(digest, () => Promise.reject(new Error('EIO'))),
    { message: 'EIO' }
  )
  await holds.hold(digest)
})

test('holds: a watcher is called for digests that are held, and for those that are held or renewed later', async t => {
  const holds = await openHolds(t)
  await holds.hold(digest)
  const seen: string[] = []
  const end = holds.watch(each => seen.push(each))
  await holds.renew(other)
  t.strictSame(seen, [digest, other])
  end()
  await holds.renew(other)
  t.equal(seen.length, 2)
})

test('holds: a renewal gives the bytes a new time, at most once a minute', async t => {
  const storage = await openStorage(t)
  await storage.put(keys.blob(digest), Buffer.from('bytes'))
  const touched: string[] = []
  let now = 1_000_000
  const watched = watchStorage(storage, (call, key) => void (call === 'touch' && touched.push(key)))
  const holds = new Holds(watched, createCoordination(watched), () => now)
  await holds.renew(digest)
  await holds.renew(digest)
  t.strictSame(touched, [keys.blob(digest)])
  now += 60_000
  await holds.renew(digest)
  t.equal(touched.length, 2)
})

// The random model lost a blob that way: pushed, reported by a HEAD within a minute, then a kill -9 and a garbage collection.
test('holds: on a disk a renewal gives a new time to young bytes too, since the process may be killed before the next one', async t => {
  const storage = await openStorage(t)
  await storage.put(keys.blob(digest), Buffer.from('bytes'))
  const touched: string[] = []
  const now = 1_000_000
  const watched = watchStorage(storage, (call, key) => void (call === 'touch' && touched.push(key)))
  const holds = new Holds(watched, createCoordination(watched), () => now)
  await holds.renew(digest, now - 30_000)
  t.strictSame(touched, [keys.blob(digest)])
})
