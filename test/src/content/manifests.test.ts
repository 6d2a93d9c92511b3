import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { imageOf, indexOf, named, openFor, storeManifest } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const name = named('some/name')
const bytes = imageOf('config', ['layer'])
const digest = digestOf(bytes)

test('manifests: a manifest is read byte by byte as it was stored, with its media type', async t => {
  const storage = await openStorage(t)
  const odd = Buffer.from(bytes.toString().replace('{', '{ \n\t'))
  for (const each of [bytes, odd, indexOf([bytes], { mediaType: mediaTypes.dockerList })]) {
    const { content } = await openFor(t, storage)
    const stored = await storeManifest(content, name, each)
    const restarted = await openFor(t, storage)
    for (const { manifests } of [content, restarted.content]) {
      const found = await manifests.get(name, stored)
      t.strictSame(Buffer.from(found?.bytes ?? []), each)
      t.match(found?.descriptor, { digest: stored, size: each.length, mediaType: JSON.parse(each.toString()).mediaType })
    }
  }
})

test('manifests: a cached manifest takes no more memory than it has bytes', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await storeManifest(content, name, bytes)
  const restarted = await openFor(t, storage)
  for (const { manifests } of [content, restarted.content])
    t.equal((await manifests.get(name, digest))?.bytes.buffer.byteLength, bytes.length)
})

test('manifests: a repository does not have the manifests of another one', async t => {
  const { content, damages } = await openFor(t)
  await storeManifest(content, name, bytes)
  t.equal(await content.manifests.get(named('other'), digest), undefined)
  t.equal(await content.manifests.linked(named('other'), digest), undefined)
  t.strictSame(damages, [])
})

for (const [title, damaged] of Object.entries({
  'lost its end': bytes.subarray(0, 50),
  'has another byte': Buffer.from(bytes.toString().replace('2', '3')),
  'is empty': Buffer.alloc(0),
  'is larger than any manifest': Buffer.alloc(33 * 1024 * 1024)
})) {
  test(`manifests: one whose file ${title} is not found, reported with its key, and heals by a new push`, async t => {
    const storage = await openStorage(t)
    await storeManifest((await openFor(t, storage)).content, name, bytes)
    await storage.put(keys.blob(digest), damaged)
    const { content, damages } = await openFor(t, storage)
    t.equal(await content.manifests.get(name, digest), undefined)
    t.match(damages, [{ key: keys.blob(digest) }])
    t.equal(await content.manifests.linked(name, digest), digest, 'it can be deleted')
    await storeManifest(content, name, bytes)
    t.ok(await content.manifests.get(name, digest))
  })
}

test('manifests: a manifest without bytes is not found, and reported with its key', async t => {
  const storage = await openStorage(t)
  await storeManifest((await openFor(t, storage)).content, name, bytes)
  await storage.remove([keys.blob(digest)])
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.manifests.get(name, digest), undefined)
  t.match(damages, [{ key: keys.blob(digest) }])
})

for (const way of ['get', 'peek'] as const) {
  test(`manifests: one that is removed between a look at its link and ${way} of its bytes is not found, and nothing is reported`, async t => {
    const storage = await openStorage(t)
    await storeManifest((await openFor(t, storage)).content, name, bytes)
    let removed = false
    const watched = watchStorage(storage, async (call, key) => {
      if (call !== 'get' || key !== keys.blob(digest) || removed) return
      removed = true
      t.strictSame(await content.removals.removeManifests(name, [{ digest, tags: [] }], () => true), [digest])
      t.strictSame(await content.removals.removeBytes([digest], () => true), [digest])
    })
    const { content, damages } = await openFor(t, watched)
    const found = way === 'get' ? content.manifests.get(name, digest) : content.manifests.peek(digest, { name, digest })
    t.equal(await found, undefined)
    t.ok(removed)
    t.strictSame(damages, [])
  })
}

test('manifests: a sha512 whose link leads to the sha256, as Distribution writes it, is found under both', async t => {
  const storage = await openStorage(t)
  const long = digestOf(bytes, 'sha512')
  await storage.put(keys.blob(digest), bytes)
  await storage.put(keys.revision(name, long), Buffer.from(digest))
  const { content, damages } = await openFor(t, storage)
  t.match(await content.manifests.get(name, long), { descriptor: { digest: long } })
  t.strictSame(damages, [])
})

test('manifests: a sha512 whose link leads to other bytes is not found, and reported', async t => {
  const storage = await openStorage(t)
  const long = digestOf(Buffer.from('other'), 'sha512')
  await storage.put(keys.blob(digest), bytes)
  await storage.put(keys.revision(name, long), Buffer.from(digest))
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.manifests.get(name, long), undefined)
  t.match(damages, [{ key: keys.revision(name, long) }])
})

test('manifests: a manifest that is read often is read from disk once', async t => {
  const below = await openStorage(t)
  await storeManifest((await openFor(t, below)).content, name, bytes)
  const reads: string[] = []
  const { content } = await openFor(
    t,
    watchStorage(below, (call, key) => void reads.push(`${call} ${key}`))
  )
  for (let at = 0; at < 5; at++) await content.manifests.get(name, digest)
  t.strictSame(reads, [`get ${keys.revision(name, digest)}`, `get ${keys.blob(digest)}`])
})

test('manifests: the list is that of the repository, of both algorithms, without names that are no digest', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const other = imageOf('other', [])
  await storeManifest(content, name, bytes)
  await storeManifest(content, name, other)
  await content.commit.putManifest(name, digestOf(bytes, 'sha512'), bytes, { tags: [] })
  await storage.put(`${keys.revisions(name)}/sha256/nonsense/link`, Buffer.from('x'))
  await storage.put(`${keys.revisions(name)}/md5/${'a'.repeat(32)}/link`, Buffer.from('x'))
  t.strictSame(await Array.fromAsync(content.manifests.list(name)), [...[digest, digestOf(other)].sort(), digestOf(bytes, 'sha512')])
  t.strictSame(await Array.fromAsync(content.manifests.list(named('other'))), [])
})

test('manifests: a manifest that is removed from a repository leaves the cache, and another repository still has it', async t => {
  const read: string[] = []
  const storage = watchStorage(await openStorage(t), (call, key) => void (call === 'get' && read.push(key)))
  const { content } = await openFor(t, storage)
  const other = named('some/other')
  for (const each of [name, other]) await storeManifest(content, each, bytes)
  await content.commit.removeManifest(name, digest, undefined)
  t.equal(await content.manifests.get(name, digest), undefined)
  t.notOk(read.includes(keys.blob(digest)))
  t.strictSame(Buffer.from((await content.manifests.get(other, digest))?.bytes ?? []), bytes)
  t.ok(read.includes(keys.blob(digest)), 'its bytes were read anew')
})
