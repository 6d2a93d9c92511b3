import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { digestOf, emptyDigest } from '../../../src/oci/digest.ts'
import type { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { blobText, describe, imageOf, named, openFor, pushBlob, storeManifest } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const name = named('some/name')
const layer = 'the bytes of a layer'
const digest = digestOf(Buffer.from(layer))
const file = (storage: FilesystemStorage): string => join(storage.root, keys.blob(digest))

test('sizes: a blob whose file lost its end is not found, and reported with its key', async t => {
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

test('sizes: a file that grew is as little the blob as one that is short', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await pushBlob(content, name, layer)
  await writeFile(file(storage), `${layer} and more`)
  t.equal(await content.blobs.stat(name, digest), undefined)
})

test('sizes: a file of 0 bytes is damaged, also where nothing tells its size', async t => {
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

test('sizes: a manifest that tells a wrong size does not condemn a sound blob', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  await pushBlob(before.content, name, layer)
  await storeManifest(before.content, name, imageOf('config', [], { layers: [{ ...describe(layer), size: 7 }] }))
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.blobs.stat(name, digest), layer.length)
  t.equal(await blobText(content, name, digest), layer)
  t.strictSame(damages, [])
})

test('sizes: a manifest that tells a wrong size later does not overrule what was pushed', async t => {
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

test('sizes: a disk that failed once while the manifests were read does not keep the blobs from being read later', async t => {
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
