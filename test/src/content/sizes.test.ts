import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { Sizes } from '../../../src/content/sizes.ts'
import { digestOf, emptyDigest } from '../../../src/oci/digest.ts'
import type { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { blobText, describe, imageOf, named, openFor, pushBlob, storeManifest } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'
import { until } from '../support.ts'

const name = named('some/name')
const layer = 'the bytes of a layer'
const digest = digestOf(Buffer.from(layer))
const file = (storage: FilesystemStorage): string => join(storage.root, keys.blob(digest))

test('sizes: a blob whose file is truncated is not found, and reported with its key', async t => {
  const storage = await openStorage(t)
  const { content, damages } = await openFor(t, storage)
  await pushBlob(content, name, layer)
  await truncate(file(storage), 5)
  t.equal(await content.blobs.stat(name, digest), undefined)
  t.equal(await content.blobs.open(name, digest), undefined)
  t.equal(await content.blobs.open(name, digest, { first: 0, last: 1 }), undefined, 'no part of it either')
  t.match(damages, [{ key: keys.blob(digest), reason: /5 bytes/ }, { key: keys.blob(digest) }, { key: keys.blob(digest) }])
})

test('sizes: after a restart a short file is known from the manifests of the repository', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  await pushBlob(before.content, name, layer)
  await storeManifest(before.content, name, imageOf('config', [layer]))
  await truncate(file(storage), 5)
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.blobs.stat(name, digest), undefined)
  t.match(damages, [{ key: keys.blob(digest) }])
})

test('sizes: a file that grew is not the blob either', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await pushBlob(content, name, layer)
  await writeFile(file(storage), `${layer} and more`)
  t.equal(await content.blobs.stat(name, digest), undefined)
})

test('sizes: a file of 0 bytes is damaged, even if the size is unknown', async t => {
  const storage = await openStorage(t)
  await storage.put(keys.blob(digest), Buffer.alloc(0))
  const { content, damages } = await openFor(t, storage)
  await content.commit.linkBlob(name, digest)
  t.equal(await content.blobs.stat(name, digest), undefined)
  t.match(damages, [{ key: keys.blob(digest) }])
})

test('sizes: the empty blob is sound', async t => {
  const { content, damages } = await openFor(t)
  t.equal(await pushBlob(content, name, ''), emptyDigest.sha256)
  t.equal(await content.blobs.stat(name, emptyDigest.sha256), 0)
  t.equal(await blobText(content, name, emptyDigest.sha256), '')
  t.strictSame(damages, [])
})

test('sizes: a manifest with a wrong size does not make a sound blob known-bad', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  await pushBlob(before.content, name, layer)
  await storeManifest(before.content, name, imageOf('config', [], { layers: [{ ...describe(layer), size: 7 }] }))
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.blobs.stat(name, digest), layer.length)
  t.equal(await blobText(content, name, digest), layer)
  t.strictSame(damages, [])
})

test('sizes: a later manifest with a wrong size does not overrule the size of the push', async t => {
  const { content, damages } = await openFor(t)
  await pushBlob(content, name, layer)
  content.sizes.learn(digestOf(Buffer.from('m')), imageOf('config', [], { layers: [{ ...describe(layer), size: 7 }] }))
  t.equal(await content.blobs.stat(name, digest), layer.length)
  t.strictSame(damages, [])
})

test('sizes: a damaged blob heals by a new push, for all who have it', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await pushBlob(content, name, layer)
  await pushBlob(content, named('other'), layer)
  await truncate(file(storage), 5)
  t.equal(await content.blobs.stat(name, digest), undefined)
  await pushBlob(content, named('third'), layer)
  for (const each of [name, named('other'), named('third')]) t.equal(await blobText(content, each, digest), layer)
})

test('sizes: a link without bytes is not found and reported', async t => {
  const storage = await openStorage(t)
  const { content, damages } = await openFor(t, storage)
  await pushBlob(content, name, layer)
  await storage.remove([keys.blob(digest)])
  t.equal(await content.blobs.stat(name, digest), undefined)
  t.match(damages, [{ key: keys.blob(digest) }])
})

test('sizes: an I/O error while the manifests are read does not keep the blobs from being read later', async t => {
  const below = await openStorage(t)
  const before = await openFor(t, below)
  await pushBlob(before.content, name, layer)
  const manifest = await storeManifest(before.content, name, imageOf('config', [layer]))
  let failing = true
  const { content } = await openFor(
    t,
    watchStorage(below, (call, key) => {
      if (failing && call === 'get' && key === keys.revision(name, manifest)) throw Object.assign(new Error('read'), { code: 'EIO' })
    })
  )
  await t.rejects(content.blobs.stat(name, digest), { code: 'EIO' })
  failing = false
  t.equal(await content.blobs.stat(name, digest), layer.length)
})

// One repository may hold everything: a mirror of a platform has some thousand manifests in it.
test('sizes: a blob whose size is unknown waits for a bounded time and a few manifests at once, not for all of them', async t => {
  const below = await openStorage(t)
  const before = await openFor(t, below)
  const others = Array.from({ length: 50 }, (_, at) => imageOf(`config ${at}`, [layer]))
  for (const each of others) await storeManifest(before.content, name, each)
  await pushBlob(before.content, name, layer)
  await truncate(file(below), 5)
  const disk = Promise.withResolvers<void>()
  const manifests = new Set(others.map(each => keys.blob(digestOf(each))))
  let reads = 0
  const slow = await openFor(
    t,
    watchStorage(below, (call, key) => {
      if (call !== 'get' || !manifests.has(key)) return undefined
      reads++
      return disk.promise
    })
  )
  const waits: number[] = []
  const sleep = async (ms: number) => void waits.push(ms)
  const sizes = new Sizes(slow.content.manifests, slow.content.coordination, { sleep })
  const plausible = async () => {
    const object = await below.open(keys.blob(digest))
    try {
      return object && (await sizes.plausible(name, digest, object))
    } finally {
      await object?.close()
    }
  }
  t.equal(await plausible(), true, 'its size is not known yet')
  t.equal(await plausible(), true)
  t.equal(waits.length, 2)
  t.ok(Math.max(...waits) <= 1_000, 'within a second')
  await until(() => reads >= 8)
  await setImmediate()
  t.equal(reads, 8, 'manifests are read side by side, but not all of them')
  disk.resolve()
  await until(() => sizes.get(digest) !== undefined)
  t.equal(await plausible(), false, 'the rest was read in the background')
  // Once all manifests are read, no blob waits.
  await until(() => others.every((_, at) => sizes.get(describe(`config ${at}`).digest) !== undefined))
  await setImmediate()
  const { length } = waits
  const unknown = await below.open(keys.blob(await pushBlob(before.content, name, 'in no manifest')))
  t.equal(unknown && (await sizes.plausible(name, digestOf(Buffer.from('in no manifest')), unknown)), true)
  await unknown?.close()
  t.equal(waits.length, length)
  t.equal(reads, others.length, 'each is read once')
})
