import { type Test, test } from 'tap'
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { RateLimiter } from '../../../storage/rate-limiter.ts'
import { createTestClock } from '../../support/clock.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { keysBelow, textOf } from '../../support/storage.ts'

const piece = Buffer.alloc(10_000, 1)

/** Storage on a clock that stands still: a write that has to wait never ends. */
async function setUp(t: Test) {
  const rate = new RateLimiter(100_000, { clock: createTestClock() })
  const storage = await FilesystemStorage.open(await temporaryDirectory(t), { writeRate: rate })
  t.teardown(() => storage.close())
  const writer = await storage.create('tmp/a')
  await writer.write([piece])
  return { rate, storage, writer }
}

test('write limit: what is over it is not written before its turn', async t => {
  const { rate, writer } = await setUp(t)
  void writer.write([piece])
  await new Promise(resolve => setImmediate(resolve))
  t.equal(rate.waiting, 1)
  t.equal(writer.offset, piece.length)
})

test('write limit: small objects, and what is put, do not wait', async t => {
  const { rate, storage, writer } = await setUp(t)
  void writer.write([piece])
  await storage.put('objects/put', Buffer.alloc(1_000_000))
  const small = await storage.create('objects/small')
  await small.write([Buffer.from('a link')])
  await small.publish('objects/link')
  t.strictSame(await keysBelow(storage, 'objects'), ['objects/link', 'objects/put'])
  t.equal(rate.waiting, 1)
})

test('write limit: a client that leaves ends the wait, and what it sent is kept', async t => {
  const { rate, storage, writer } = await setUp(t)
  const leaves = new AbortController()
  const writing = writer.write([piece], leaves.signal)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(rate.waiting, 1)
  leaves.abort()
  await writing
  t.equal(rate.waiting, 0)
  await writer.close()
  t.equal((await textOf(storage, 'tmp/a'))?.length, 2 * piece.length)
})

test('write limit: a resumed file waits as well', async t => {
  const { rate, storage, writer } = await setUp(t)
  await writer.close()
  void (await storage.resume('tmp/a'))?.write([piece])
  await new Promise(resolve => setImmediate(resolve))
  t.equal(rate.waiting, 1)
})
