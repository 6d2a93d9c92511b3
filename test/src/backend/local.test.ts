import { type Test, test } from 'tap'
import { LocalBackend } from '../../../src/backend/local.ts'
import { LocalSink } from '../../../src/backend/local-sink.ts'
import * as keys from '../../../src/content/keys.ts'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { chunkOf, imageOf, indexOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { openStorage } from '../../support/storage.ts'

const name = named('some/name')
const unknown = named('un/known')
const bytes = imageOf('config', ['layer'])
const digest = digestOf(bytes)
const tag = tagged('v1')
const absent = digestOf(Buffer.from('absent'))
const { signal } = new AbortController()

async function filled(t: Test) {
  const opened = await openFor(t)
  for (const each of ['config', 'layer']) await pushBlob(opened.content, name, each)
  await storeManifest(opened.content, name, bytes, { tags: [tag] })
  return { ...opened, local: new LocalBackend(opened.content, new LocalSink(opened.content)) }
}

test('Local: the mode is Local, and content can be pushed', async t => {
  const { local } = await filled(t)
  t.equal(local.mode, 'Local')
  t.ok(local.sink)
})

test('Local: a blob is described and opened, and the answer is a hit', async t => {
  const { local } = await filled(t)
  const blob = digestOf(Buffer.from('layer'))
  t.strictSame(await local.statBlob(name, blob), { value: { mediaType: mediaTypes.blob, digest: blob, size: 5 }, outcome: 'hit' })
  const { value, outcome } = await local.openBlob(name, blob, { signal })
  t.match({ value, outcome }, { value: { size: 5, part: { offset: 0, length: 5 } }, outcome: 'hit' })
  await value.body.close()
})

test('Local: a range of a blob selects a part, and one that cannot be satisfied none', async t => {
  const { local } = await filled(t)
  const blob = digestOf(Buffer.from('layer'))
  for (const [range, part] of [
    [
      { first: 1, last: 2 },
      { offset: 1, length: 2 }
    ],
    [{ first: 3 }, { offset: 3, length: 2 }],
    [{ suffix: 2 }, { offset: 3, length: 2 }],
    [{ first: 5 }, undefined],
    [{ suffix: 0 }, undefined]
  ] as const) {
    const { value } = await local.openBlob(name, blob, { range, signal })
    t.strictSame(value.part, part)
    t.equal(value.size, 5)
    const into = Buffer.alloc(5)
    t.equal(await value.body.readInto(into, 3), 2, 'positions are those of the whole')
    t.equal(into.toString('utf8', 0, 2), 'er')
    await value.body.close()
  }
})

test('Local: a blob of another repository, or of none, is BLOB_UNKNOWN', async t => {
  const { local } = await filled(t)
  for (const [where, which] of [
    [unknown, digestOf(Buffer.from('layer'))],
    [name, absent]
  ] as const) {
    await t.rejects(local.statBlob(where, which), { code: 'BLOB_UNKNOWN', status: 404 })
    await t.rejects(local.openBlob(where, which, { signal }), { code: 'BLOB_UNKNOWN', status: 404 })
  }
})

test('Local: a manifest is found by tag and by digest', async t => {
  const { local } = await filled(t)
  for (const reference of [{ tag }, { digest }]) {
    t.match(await local.statManifest(name, reference), { value: { digest, size: bytes.length }, outcome: 'hit' })
    t.strictSame(Buffer.from((await local.getManifest(name, reference)).value.bytes), bytes)
  }
})

test('Local: what is not there is NAME_UNKNOWN where the repository is not there, else MANIFEST_UNKNOWN', async t => {
  const { local } = await filled(t)
  for (const reference of [{ tag: tagged('v2') }, { digest: absent }]) {
    await t.rejects(local.getManifest(name, reference), { code: 'MANIFEST_UNKNOWN', status: 404 })
    await t.rejects(local.statManifest(unknown, reference), { code: 'NAME_UNKNOWN', status: 404 })
  }
})

test('Local: tags of an unknown repository are NAME_UNKNOWN, its referrers an empty list', async t => {
  const { local } = await filled(t)
  t.strictSame((await local.listTags(name, {})).value, { items: ['v1'] })
  await t.rejects(local.listTags(unknown, {}), { code: 'NAME_UNKNOWN' })
  t.strictSame((await local.listReferrers(unknown, digest, {})).value, { items: [] })
  t.strictSame((await local.listNames({})).value, { items: ['some/name'] })
})

test('Local: a tag whose manifest is damaged is MANIFEST_UNKNOWN, and reported', async t => {
  const storage = await openStorage(t)
  await storeManifest((await openFor(t, storage)).content, name, bytes, { tags: [tag] })
  await storage.put(keys.blob(digest), Buffer.from('damaged'))
  const { content, damages } = await openFor(t, storage)
  await t.rejects(new LocalBackend(content, new LocalSink(content)).getManifest(name, { tag }), { code: 'MANIFEST_UNKNOWN' })
  t.match(damages, [{ key: keys.blob(digest) }])
})

test('Local: reading a manifest makes the sizes of its blobs known', async t => {
  const { storage } = await filled(t)
  const { content, damages } = await openFor(t, storage)
  const local = new LocalBackend(content, new LocalSink(content))
  await local.getManifest(name, { tag })
  const blob = digestOf(Buffer.from('layer'))
  await storage.put(keys.blob(blob), Buffer.from('lay'))
  await content.commit.linkBlob(unknown, blob)
  await t.rejects(local.statBlob(unknown, blob), { code: 'BLOB_UNKNOWN' }, 'also where no manifest tells it')
  t.match(damages, [{ key: keys.blob(blob) }])
})

test('Local: a session is started and resumed through the sink', async t => {
  const { local } = await filled(t)
  const session = await local.sink.startUpload(name, 'sha512')
  t.equal((await local.sink.resumeUpload(name, session.id)).offset, 0)
  await session.append(
    chunkOf(
      (async function* () {
        yield Buffer.from('pushed')
      })()
    )
  )
  const pushed = digestOf(Buffer.from('pushed'), 'sha512')
  await session.finish(pushed)
  t.equal((await local.statBlob(name, pushed)).value.size, 6)
})

test('Local: an index is given as it was pushed', async t => {
  const { local } = await filled(t)
  const index = indexOf([bytes])
  await local.sink.putManifest(name, { tag: tagged('all') }, { bytes: index }, [])
  t.match((await local.getManifest(name, { tag: tagged('all') })).value.descriptor, { mediaType: mediaTypes.ociIndex })
})

test('Local: a blob that clients fetch elsewhere is opened once at most, and not at all where its size is known', async t => {
  const opens: string[] = []
  const storage = await openStorage(t)
  const locating = new Proxy(storage, {
    get: (target, member) => {
      if (member === 'locate') return async (key: string, seconds: number) => `https://bucket.example/${key}?for=${seconds}`
      const value = Reflect.get(target, member, target)
      if (member === 'open') opens.push('open')
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  const { content } = await openFor(t, locating)
  const [small, large] = [await pushBlob(content, name, 'small'), await pushBlob(content, name, 'larger than ten bytes')]
  const local = new LocalBackend(content, new LocalSink(content), { overBytes: 10, validSeconds: 600 })
  const open = async (blob: typeof small) => {
    opens.length = 0
    const { value } = await local.openBlob(name, blob, { signal, redirect: 'allowed' })
    if ('location' in value) return { location: value.location, opens: opens.length }
    await value.body.close()
    return { size: value.size, opens: opens.length }
  }
  const location = `https://bucket.example/${keys.blob(large)}?for=600`
  t.strictSame(await open(small), { size: 5, opens: 1 })
  t.strictSame(await open(large), { location, opens: 0 }, 'a push tells the size')
  const { value } = await local.openBlob(name, large, { signal })
  t.ok('body' in value, 'nothing is elsewhere for a client that does not follow')
  await value.body.close()

  const restarted = await openFor(t, locating)
  const again = new LocalBackend(restarted.content, new LocalSink(restarted.content), { overBytes: 10, validSeconds: 600 })
  opens.length = 0
  t.strictSame((await again.openBlob(name, large, { signal, redirect: 'allowed' })).value, { location })
  t.ok(opens.length <= 1, 'of unknown size it is opened once')
  const always = new LocalBackend(restarted.content, new LocalSink(restarted.content), { overBytes: 0, validSeconds: 600 })
  opens.length = 0
  t.strictSame((await always.openBlob(name, large, { signal, redirect: 'allowed' })).value, { location })
  t.strictSame(opens, [])
})
