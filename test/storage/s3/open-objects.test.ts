import { randomBytes } from 'node:crypto'
import { type Test, test } from 'tap'
import type { S3Storage } from '../../../storage/s3/s3.ts'
import type { OpenObject } from '../../../storage/storage.ts'
import { proxyS3, type S3Proxy } from '../../support/s3-proxy.ts'
import { makeBucket, openS3, type S3Server, startS3 } from '../../support/s3-server.ts'
import { fc } from '../../support/seeded.ts'

const bytes = randomBytes(3 * 1024 * 1024)
const key = 'blobs/a'

interface Scene {
  storage: S3Storage
  proxy: S3Proxy
  /** GETs of objects since the last call. */
  gets(): number
}

async function scene(t: Test, server: S3Server, fresh = 60_000): Promise<Scene> {
  const proxy = await proxyS3(t, server)
  const storage = await openS3(t, proxy, { bucket: makeBucket(server), openTtlMs: fresh })
  await storage.put(key, bytes)
  let before = proxy.requests.length
  const gets = () => {
    const since = proxy.requests.slice(before).filter(each => each.startsWith('GET'))
    before = proxy.requests.length
    return since.length
  }
  return { storage, proxy, gets }
}

async function opened({ storage }: Scene): Promise<OpenObject> {
  const object = await storage.open(key)
  if (!object) throw new Error('there is no such object')
  return object
}

/** Reads so many bytes, or fewer at the end; whether they are those of the object. */
async function right(object: OpenObject, position: number, length: number): Promise<boolean> {
  const into = Buffer.alloc(Math.min(length, bytes.length - position))
  for (let at = 0; at < into.length; ) {
    const read = await object.readInto(into.subarray(at), position + at)
    if (read === 0) return false
    at += read
  }
  return into.equals(bytes.subarray(position, position + into.length))
}

test('objects of a bucket with several readers', async t => {
  const server = await startS3(t)
  if (!server) return

  await t.test('s3: opening an object that another reader has open costs no request, and its body is continued', async t => {
    const all = await scene(t, server)
    const readers = await Promise.all(Array.from({ length: 10 }, () => opened(all)))
    t.equal(new Set(readers.map(each => each.identity)).size, 1, 'they have the same bytes')
    // Each reads the next piece, as readers of shared chunks do.
    for (let at = 0, turn = 0; at < bytes.length; at += 100_000, turn++) {
      const reader = readers[turn % readers.length]
      if (reader) t.ok(await right(reader, at, 100_000))
    }
    t.equal(all.gets(), 1)
    for (const reader of readers) await reader.close()
    await (await opened(all)).close()
    t.equal(all.gets(), 1, 'it has no reader any more, so it is requested')
  })

  await t.test('s3: a reader that falls behind, or seeks back, requests a body of its own', async t => {
    const all = await scene(t, server)
    const [one, other] = [await opened(all), await opened(all)]
    t.ok(await right(one, 0, 1_000_000))
    t.ok(await right(other, 0, 10))
    t.ok(await right(one, 1_000_000, 10))
    t.ok(await right(other, 10, 1_000_000))
    t.equal(all.gets(), 2)
    t.ok(await right(one, 5, 5))
    t.equal(all.gets(), 1)
    await Promise.all([one.close(), other.close()])
  })

  await t.test('s3: concurrent reads at one position are right for each reader', async t => {
    const all = await scene(t, server)
    const readers = await Promise.all(Array.from({ length: 5 }, () => opened(all)))
    const found = await Promise.all(readers.map(each => right(each, 0, bytes.length)))
    t.strictSame(found, [true, true, true, true, true])
    await Promise.all(readers.map(each => each.close()))
  })

  await t.test('s3: a reader that closes, even during a read, does not disturb the others', async t => {
    const all = await scene(t, server)
    const [one, other] = [await opened(all), await opened(all)]
    t.ok(await right(one, 0, 1_000))
    t.ok(await right(other, 1_000, 1_000))
    const reading = one.readInto(Buffer.alloc(10), 2_000).catch(() => {})
    await one.close()
    await reading
    t.ok(await right(other, 2_000, bytes.length))
    await other.close()
  })

  await t.test('s3: all readers of a body that breaks continue', async t => {
    const all = await scene(t, server)
    all.proxy.fate = () => ({ cutAfter: 400_000 })
    const [one, other] = [await opened(all), await opened(all)]
    for (let at = 0; at < bytes.length; at += 150_000) t.ok(await right(at % 300_000 === 0 ? one : other, at, 150_000))
    await Promise.all([one.close(), other.close()])
  })

  await t.test('s3: a put or a removal by this process is seen at once, also while the old object is read', async t => {
    const all = await scene(t, server)
    const old = await opened(all)
    await all.storage.put(key, Buffer.from('new'))
    const now = await opened(all)
    t.equal(now.size, 3)
    t.not(now.identity, old.identity)
    await now.close()
    await all.storage.remove([key])
    t.equal(await all.storage.open(key), undefined)
    await old.close()
    const writer = await all.storage.create('up/data')
    await writer.write([Buffer.from('newer')])
    await writer.publish(key)
    t.equal((await opened(all)).size, 5)
  })

  await t.test('s3: an object that is removed while it is requested is not given to later readers', async t => {
    const all = await scene(t, server)
    const [come, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    all.proxy.fate = method => {
      if (method !== 'GET') return 'pass'
      come.resolve()
      return { after: go.promise }
    }
    const first = all.storage.open(key)
    await come.promise
    await all.storage.remove([key])
    go.resolve()
    all.proxy.fate = () => 'pass'
    t.equal(await all.storage.open(key), undefined)
    await (await first)?.close()
  })

  await t.test('s3: an absent object is requested by each reader, since it may have been put', async t => {
    const all = await scene(t, server)
    await all.storage.remove([key])
    const first = all.storage.open(key)
    const second = all.storage.put(key, bytes).then(() => all.storage.open(key))
    t.ok(await second)
    await first
  })

  await t.test('s3: without a TTL each open is a request', async t => {
    const all = await scene(t, server, 0)
    const readers = await Promise.all([1, 2, 3].map(() => opened(all)))
    t.equal(all.gets(), 3)
    for (const reader of readers) t.ok(await right(reader, 0, bytes.length))
    await Promise.all(readers.map(each => each.close()))
  })

  await t.test('s3: whatever several readers do at once, each gets the bytes of the object', async t => {
    const all = await scene(t, server)
    const step = fc.record({
      reader: fc.nat(3),
      kind: fc.constantFrom('on', 'on', 'on', 'seek', 'reopen', 'cut'),
      at: fc.nat(bytes.length - 1),
      length: fc.integer({ min: 1, max: 400_000 })
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
        const readers = await Promise.all([0, 1, 2, 3].map(async () => ({ object: await opened(all), at: 0, last: Promise.resolve(true) })))
        for (const { reader, kind, at, length } of steps) {
          const each = readers[reader]
          if (!each) continue
          if (kind === 'seek') each.at = at
          if (kind === 'reopen') {
            await each.last
            await each.object.close()
            each.object = await opened(all)
          }
          if (kind === 'cut') {
            // The next one only.
            all.proxy.fate = () => {
              all.proxy.fate = () => 'pass'
              return { cutAfter: length }
            }
          }
          const from = each.at
          each.at = (from + length) % bytes.length
          // One after another for each, side by side for all.
          each.last = each.last.then(async before => before && (await right(each.object, from, length)))
        }
        const results = await Promise.all(readers.map(each => each.last))
        all.proxy.fate = () => 'pass'
        await Promise.all(readers.map(each => each.object.close()))
        if (results.includes(false)) throw new Error('other bytes')
      }),
      { numRuns: 15 }
    )
    t.pass('all of them')
  })
})
