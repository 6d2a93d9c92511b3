import { randomBytes } from 'node:crypto'
import { type Test, test } from 'tap'
import { ProxyBlobs } from '../../../src/backend/proxy-blobs.ts'
import { blob } from '../../../src/content/keys.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { StalledError } from '../../../storage/fs/io-pool.ts'
import type { Storage } from '../../../storage/storage.ts'
import { blobText, bodyOf, chunkOf, named, neverAborted, pushBlob } from '../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../support/storage.ts'
import { blobIn } from '../upstream/ask.ts'
import { readAll, scene } from './scene.ts'

const name = named('here/app')
const full = () => Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })

/** A cache whose medium fails where `fail` throws. */
async function failing(t: Test, fail: (call: string, key: string) => void) {
  const made = await scene(t, watchStorage(await openStorage(t), fail))
  return { ...made, blobs: new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 }) }
}

test('a storage that takes nothing: the client gets its bytes from upstream, and nothing is left behind', async t => {
  const { server, blobs, storage, ended } = await failing(t, call => {
    if (call === 'stage') throw full()
  })
  const { bytes, digest } = blobIn(server, 'there/app', 100_000)
  const served = await blobs.open(name, digest, { signal: neverAborted })
  t.equal(served.outcome, 'bypass')
  t.ok((await readAll(served.value)).equals(bytes))
  t.strictSame(
    ended.map(each => each.result),
    ['medium']
  )
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
})

test('a storage that fails in the middle: the client gets all its bytes, verified', async t => {
  const { server, blobs, storage } = await failing(t, (call, key) => {
    if (call === 'write' && key.includes('/tmp/') && --writes < 0) throw full()
  })
  let writes = 2
  const { bytes, digest } = blobIn(server, 'there/app', 8 * 2 ** 20)
  server.faults.bytesPerSecond = 40 * 2 ** 20
  const served = await blobs.open(name, digest, { signal: neverAborted })
  t.equal(served.outcome, 'miss')
  t.ok((await readAll(served.value)).equals(bytes))
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  t.strictSame(await keysBelow(storage, 'docker'), [])
})

for (const [when, from] of Object.entries({ 'from its first byte on': 0, 'in its middle': 100_000 })) {
  test(`a stored blob whose reading fails ${when}: the client gets all its bytes, also of a range`, async t => {
    const below = await openStorage(t)
    let failing = false
    const storage: Storage = {
      ...watchStorage(below, () => {}),
      open: async key => {
        const object = await below.open(key)
        const readInto = async (into: Buffer, position: number) => {
          if (failing && position >= from) throw new StalledError('refused')
          return object?.readInto(into, position) ?? 0
        }
        return object && { size: object.size, modified: object.modified, readInto, close: () => object.close() }
      }
    }
    const made = await scene(t, storage)
    const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 })
    const { bytes, digest } = blobIn(made.server, 'there/app', 300_000)
    await readAll((await blobs.open(name, digest, { signal: neverAborted })).value)
    await made.fills.find(digest)?.done
    failing = true
    for (const range of [undefined, { first: 50_000, last: 249_999 }]) {
      const served = await blobs.open(name, digest, { signal: neverAborted, ...(range ? { range } : {}) })
      t.equal(served.outcome, 'hit')
      t.ok((await readAll(served.value)).equals(range ? bytes.subarray(range.first, range.last + 1) : bytes))
    }
    await made.server.stop()
    const served = await blobs.open(name, digest, { signal: neverAborted })
    await t.rejects(readAll(served.value))
    t.ok(await made.content.holds.remove(digest, async () => true), 'and no hold is left')
  })
}

test('a storage that fails in the middle, and wrong bytes from then on: the answer ends short', async t => {
  const { server, blobs } = await failing(t, (call, key) => {
    if (call === 'write' && key.includes('/tmp/') && --writes < 0) {
      server.faults.wrongByte = 7 * 2 ** 20
      throw full()
    }
  })
  let writes = 2
  const { digest } = blobIn(server, 'there/app', 8 * 2 ** 20)
  server.faults.bytesPerSecond = 40 * 2 ** 20
  await t.rejects(readAll((await blobs.open(name, digest, { signal: neverAborted })).value), /upstream sent bytes of/)
})

test('after the storage failed no fill is started for a while, then again', async t => {
  let broken = true
  const { server, blobs, content, clock, fills } = await failing(t, call => {
    if (broken && call === 'stage') throw full()
  })
  const { bytes, digest } = blobIn(server, 'there/app', 1000)
  await readAll((await blobs.open(name, digest, { signal: neverAborted })).value)
  broken = false
  t.equal(fills.running, 0)
  const during = await blobs.open(name, digest, { signal: neverAborted })
  t.equal(during.outcome, 'bypass')
  t.ok((await readAll(during.value)).equals(bytes))
  clock.at += 10_000
  const after = await blobs.open(name, digest, { signal: neverAborted })
  t.equal(after.outcome, 'miss')
  await fills.find(digest)?.done
  t.ok((await readAll(after.value)).equals(bytes))
  t.equal((await content.blobs.stat(name, digest)) === bytes.length, true)
})

test('a blob that cannot be published is served all the same', async t => {
  const { server, blobs, ended, fills } = await failing(t, (call, key) => {
    if (call === 'publish' && key.includes('/blobs/')) throw full()
  })
  const { bytes, digest } = blobIn(server, 'there/app', 100_000)
  const served = await blobs.open(name, digest, { signal: neverAborted })
  t.ok((await readAll(served.value)).equals(bytes))
  await fills.find(digest)?.done
  t.strictSame(
    ended.map(each => each.result),
    ['medium']
  )
})

test('a client waits for the head of an answer no longer than its timeout, and the download goes on', async t => {
  const made = await scene(t)
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 }, { now: Date.now, timeoutMs: 50 })
  const { digest } = blobIn(made.server, 'there/app', 1000)
  made.server.faults.headerDelay = 300
  const error = await blobs.open(name, digest, { signal: neverAborted }).catch((cause: unknown) => cause)
  t.ok(error instanceof OciError && error.status === 504)
  t.equal(await made.fills.find(digest)?.done, 'stored')
})

test('a range that a slow download would reach only after a minute is fetched for itself', async t => {
  const made = await scene(t)
  const times = { now: () => made.clock.at, timeoutMs: 5_000 }
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 }, times)
  const { bytes, digest } = blobIn(made.server, 'there/app', 2 ** 20)
  const held = Promise.withResolvers<void>()
  made.server.faults.hold = { at: 2 ** 17, until: held.promise }
  const first = await blobs.open(name, digest, { signal: neverAborted })
  await first.value.body.readInto(Buffer.alloc(1), 2 ** 16)
  made.server.faults.hold = undefined
  made.clock.at += 59_000
  const far = await blobs.open(name, digest, { range: { first: 2 ** 19 }, signal: neverAborted })
  t.equal(far.outcome, 'bypass')
  t.ok((await readAll(far.value)).equals(bytes.subarray(2 ** 19)))
  held.resolve()
  await first.value.body.close()
})

test('a range not far ahead of the download joins it', async t => {
  const made = await scene(t)
  const times = { now: () => made.clock.at, timeoutMs: 5_000 }
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 }, times)
  const { bytes, digest } = blobIn(made.server, 'there/app', 2 ** 20)
  const held = Promise.withResolvers<void>()
  made.server.faults.hold = { at: 2 ** 19, until: held.promise }
  const first = await blobs.open(name, digest, { signal: neverAborted })
  await first.value.body.readInto(Buffer.alloc(1), 2 ** 18)
  made.clock.at += 2_500
  const near = await blobs.open(name, digest, { range: { first: 2 ** 19 + 1 }, signal: neverAborted })
  t.equal(near.outcome, 'join')
  held.resolve()
  t.ok((await readAll(near.value)).equals(bytes.subarray(2 ** 19 + 1)))
  await first.value.body.close()
})

test('two clients that ask at the same moment share one download', async t => {
  const made = await scene(t)
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 })
  const { bytes, digest } = blobIn(made.server, 'there/app', 50_000)
  const both = await Promise.all([1, 2].map(() => blobs.open(name, digest, { signal: neverAborted })))
  t.strictSame(both.map(each => each.outcome).sort(), ['join', 'miss'])
  for (const each of both) t.ok((await readAll(each.value)).equals(bytes))
  t.equal(made.server.count('/blobs/'), 1)
})

test('a cached blob has a provenance record, a blob that was pushed before has none', async t => {
  const made = await scene(t)
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 })
  const { bytes, digest } = blobIn(made.server, 'there/app', 1000)
  await readAll((await blobs.open(name, digest, { signal: neverAborted })).value)
  await made.fills.find(digest)?.done
  t.equal(await made.content.provenance.get(name, digest), 'first.example/there')
  const session = await made.content.uploads.start(name)
  await session.append(chunkOf(bodyOf(bytes)))
  await session.finish(digest)
  t.equal(await made.content.provenance.get(name, digest), undefined)
})

test('a pushed blob that is damaged and fetched again stays a pushed one', async t => {
  const made = await scene(t)
  const blobs = new ProxyBlobs(made.content, made.fills, made.route, { maxFills: 8 })
  const bytes = randomBytes(1000)
  const digest = await pushBlob(made.content, name, bytes)
  made.server.addBlob('there/app', bytes)
  await made.storage.put(blob(digest), bytes.subarray(0, 10))
  const served = await blobs.open(name, digest, { signal: neverAborted })
  t.ok((await readAll(served.value)).equals(bytes))
  await made.fills.find(digest)?.done
  t.equal(await made.content.provenance.get(name, digest), undefined)
  t.equal(await blobText(made.content, name, digest), bytes.toString())
})
