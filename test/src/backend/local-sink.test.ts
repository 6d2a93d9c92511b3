import { type Test, test } from 'tap'
import { LocalSink } from '../../../src/backend/local-sink.ts'
import * as keys from '../../../src/content/keys.ts'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { blobText, describe, imageOf, indexOf, named, openFor, pushBlob, tagged } from '../../support/content.ts'
import { keysBelow } from '../../support/storage.ts'

const name = named('some/name')
const other = named('other')
const tag = tagged('v1')
const bytes = imageOf('config', ['layer'])
const digest = digestOf(bytes)
const layer = digestOf(Buffer.from('layer'))

/** A sink over content in which `name` has the blobs of `bytes`. */
async function sinkWithBlobs(t: Test) {
  const opened = await openFor(t)
  for (const each of ['config', 'layer']) await pushBlob(opened.content, name, each)
  return { ...opened, sink: new LocalSink(opened.content) }
}

test('putManifest: by tag it is stored and tagged, and tells the digest', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  t.strictSame(await sink.putManifest(name, { tag }, { bytes, mediaType: mediaTypes.ociManifest }, []), { digest, tags: [{ tag }] })
  t.equal(await content.tags.resolve(name, tag), digest)
})

test('putManifest: by digest it is stored and has the tags that were asked for, each once', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  const answer = await sink.putManifest(name, { digest }, { bytes }, ['a', 'b', 'a'].map(tagged))
  t.strictSame(answer, { digest, tags: [{ tag: 'a' }, { tag: 'b' }] })
  t.strictSame((await content.tags.list(name, {})).items, ['a', 'b'])
})

test('putManifest: by a sha512 it is had under the sha512', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  const long = digestOf(bytes, 'sha512')
  t.equal((await sink.putManifest(name, { digest: long }, { bytes }, [])).digest, long)
  t.match(await content.manifests.get(name, long), { descriptor: { digest: long } })
  t.equal(await content.manifests.get(name, digest), undefined)
})

test('putManifest: the subject is told, and need not be there', async t => {
  const { sink } = await sinkWithBlobs(t)
  const subject = describe('not there', { mediaType: mediaTypes.ociManifest })
  const referrer = imageOf('config', [], { subject })
  t.equal((await sink.putManifest(name, { tag }, { bytes: referrer }, [])).subject, subject.digest)
})

test('putManifest: bytes of another digest are DIGEST_INVALID', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  for (const wrong of [layer, digestOf(Buffer.from('x'), 'sha512')]) {
    await t.rejects(sink.putManifest(name, { digest: wrong }, { bytes }, [tag]), { code: 'DIGEST_INVALID', status: 400 })
  }
  t.equal(await content.tags.resolve(name, tag), undefined)
})

const missing = digestOf(Buffer.from('missing'))
const refused: [title: string, bytes: Buffer, code: string, detail?: unknown][] = [
  ['with a layer that is missing', imageOf('config', ['layer', 'missing']), 'MANIFEST_BLOB_UNKNOWN', { missing: [missing] }],
  ['with a config that is missing', imageOf('missing', ['layer']), 'MANIFEST_BLOB_UNKNOWN', { missing: [missing] }],
  ['that is an index with a missing manifest', indexOf([Buffer.from('missing')]), 'MANIFEST_BLOB_UNKNOWN', { missing: [missing] }],
  ['of another media type than it was sent as', indexOf([]), 'MANIFEST_INVALID'],
  ['that is garbage', Buffer.from('garbage'), 'MANIFEST_INVALID']
]

for (const [title, bad, code, detail] of refused) {
  test(`putManifest: one ${title} is ${code}, and the old tag stays`, async t => {
    const { sink, content, storage } = await sinkWithBlobs(t)
    await sink.putManifest(name, { tag }, { bytes }, [])
    const before = await keysBelow(storage, 'docker')
    const mediaType = code === 'MANIFEST_INVALID' ? mediaTypes.ociManifest : undefined
    const push = sink.putManifest(name, { tag }, { bytes: bad, ...(mediaType ? { mediaType } : {}) }, [tagged('v2')])
    await t.rejects(push, { code, ...(detail ? { detail } : {}) })
    t.equal(await content.tags.resolve(name, tag), digest)
    t.strictSame(await keysBelow(storage, 'docker'), before)
  })
}

const wrongSizes: [title: string, bytes: Buffer][] = [
  ['layer', imageOf('config', [], { layers: [{ ...describe('layer'), size: 4 }] })],
  ['manifest of an index', indexOf([], { manifests: [{ ...describe(bytes, { mediaType: mediaTypes.ociManifest }), size: 4 }] })],
  ['blob of an index', indexOf([], { manifests: [{ ...describe('layer'), size: 4 }] })]
]
for (const [title, bad] of wrongSizes) {
  test(`putManifest: a ${title} of another size than its descriptor is accepted, unless strictSizes is on`, async t => {
    const { sink, content } = await sinkWithBlobs(t)
    await sink.putManifest(name, { tag }, { bytes }, [])
    const strict = new LocalSink(content, { strictSizes: true })
    await t.rejects(strict.putManifest(name, { tag }, { bytes: bad }, []), { code: 'SIZE_INVALID', status: 400, detail: { expected: 4 } })
    t.equal(await content.tags.resolve(name, tag), digest)
    await sink.putManifest(name, { tag }, { bytes: bad }, [])
    t.equal(await content.tags.resolve(name, tag), digestOf(bad))
    t.equal(await blobText(content, name, layer), 'layer', 'and no bytes are taken for damaged')
  })
}

test('putManifest: an index lists what is there, manifests and blobs, whatever it calls them', async t => {
  const { sink } = await sinkWithBlobs(t)
  await sink.putManifest(name, { digest }, { bytes }, [])
  const manifests = [describe('layer'), describe('config', { mediaType: mediaTypes.ociManifest }), describe(bytes)]
  t.ok(await sink.putManifest(name, { tag }, { bytes: indexOf([], { manifests }) }, []))
  const foreign = describe('elsewhere', { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })
  t.ok(await sink.putManifest(name, { tag }, { bytes: indexOf([], { manifests: [foreign] }) }, []))
})

test('putManifest: blobs that only another repository has are missing', async t => {
  const { sink } = await sinkWithBlobs(t)
  await t.rejects(sink.putManifest(other, { tag }, { bytes }, []), { code: 'MANIFEST_BLOB_UNKNOWN' })
})

test('putManifest: a layer that is damaged on disk is missing', async t => {
  const { sink, storage } = await sinkWithBlobs(t)
  await storage.put(keys.blob(layer), Buffer.from('lay'))
  await t.rejects(sink.putManifest(name, { tag }, { bytes }, []), { code: 'MANIFEST_BLOB_UNKNOWN', detail: { missing: [layer] } })
})

test('putManifest: layers that may not be distributed need not be there', async t => {
  const { sink } = await sinkWithBlobs(t)
  const foreign = describe('elsewhere', { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })
  t.ok(await sink.putManifest(name, { tag }, { bytes: imageOf('config', [], { layers: [foreign] }) }, []))
})

test('putManifest: all that is missing is named, however many layers there are', async t => {
  const { sink } = await sinkWithBlobs(t)
  const layers = Array.from({ length: 30 }, (_, at) => `layer ${at}`)
  const error = await sink.putManifest(name, { tag }, { bytes: imageOf('config', layers) }, []).then(
    () => undefined,
    error => error
  )
  t.strictSame([...error.detail.missing].sort(), layers.map(each => digestOf(Buffer.from(each))).sort())
})

test('putManifest: an index needs its manifests in the same repository', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  await sink.putManifest(name, { digest }, { bytes }, [])
  await sink.putManifest(name, { tag }, { bytes: indexOf([bytes]) }, [])
  t.equal(await content.tags.resolve(name, tag), digestOf(indexOf([bytes])))
  await t.rejects(sink.putManifest(other, { tag }, { bytes: indexOf([bytes]) }, []), { code: 'MANIFEST_BLOB_UNKNOWN' })
})

test('mountBlob: a blob of the named repository, or of any if none is named, can be read afterwards', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  t.ok(await sink.mountBlob(other, layer, name))
  t.ok(await sink.mountBlob(named('third'), layer))
  for (const each of [other, named('third')]) t.equal(await blobText(content, each, layer), 'layer')
})

test('mountBlob: what is not there, or not in the named repository, is not mounted', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  t.notOk(await sink.mountBlob(other, missing))
  t.notOk(await sink.mountBlob(other, missing, name))
  t.notOk(await sink.mountBlob(other, layer, named('third')))
  t.equal(await content.blobs.linked(other, layer), undefined)
  t.notOk(await content.names.has(other))
})

test('mountBlob: a damaged blob is not mounted, so that the client pushes it', async t => {
  const { sink, content, storage } = await sinkWithBlobs(t)
  await storage.put(keys.blob(layer), Buffer.from('lay'))
  t.notOk(await sink.mountBlob(other, layer, name))
  t.notOk(await sink.mountBlob(other, layer))
  t.equal(await content.blobs.linked(other, layer), undefined)
})

test('deleteBlob: it is gone from the repository, a second time BLOB_UNKNOWN', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  await sink.deleteBlob(name, layer)
  t.equal(await content.blobs.stat(name, layer), undefined)
  await t.rejects(sink.deleteBlob(name, layer), { code: 'BLOB_UNKNOWN', status: 404 })
})

test('deleteBlob: a damaged one can be deleted', async t => {
  const { sink, content, storage } = await sinkWithBlobs(t)
  await storage.remove([keys.blob(layer)])
  await sink.deleteBlob(name, layer)
  t.equal(await content.blobs.linked(name, layer), undefined)
})

test('deleteManifest: by digest it goes with its tags and from the referrers', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  const subject = describe('subject', { mediaType: mediaTypes.ociManifest })
  const referrer = imageOf('config', [], { subject })
  await sink.putManifest(name, { tag }, { bytes: referrer }, [tagged('v2')])
  t.equal((await content.referrers.list(name, subject.digest, {})).items.length, 1)
  t.strictSame(await sink.deleteManifest(name, { digest: digestOf(referrer) }), { digest: digestOf(referrer), tags: ['v1', 'v2'] })
  t.strictSame((await content.tags.list(name, {})).items, [])
  t.strictSame((await content.referrers.list(name, subject.digest, {})).items, [])
  await t.rejects(sink.deleteManifest(name, { digest: digestOf(referrer) }), { code: 'MANIFEST_UNKNOWN' })
})

test('deleteManifest: by tag only the tag goes', async t => {
  const { sink, content } = await sinkWithBlobs(t)
  await sink.putManifest(name, { tag }, { bytes }, [tagged('v2')])
  t.strictSame(await sink.deleteManifest(name, { tag }), { digest, tags: [tag] })
  t.strictSame((await content.tags.list(name, {})).items, ['v2'])
  await t.rejects(sink.deleteManifest(name, { tag }), { code: 'MANIFEST_UNKNOWN' })
})

test('deleteManifest: in an unknown repository it is NAME_UNKNOWN', async t => {
  const { sink } = await sinkWithBlobs(t)
  for (const reference of [{ tag }, { digest }])
    await t.rejects(sink.deleteManifest(other, reference), { code: 'NAME_UNKNOWN', status: 404 })
})

test('deleteManifest: a damaged one can be deleted', async t => {
  const { sink, storage } = await sinkWithBlobs(t)
  await sink.putManifest(name, { tag }, { bytes }, [])
  await storage.put(keys.blob(digest), Buffer.from('damaged'))
  t.strictSame(await sink.deleteManifest(name, { digest }), { digest, tags: [tag] })
})

test('resumeUpload: a session of another repository is BLOB_UPLOAD_UNKNOWN', async t => {
  const { sink } = await sinkWithBlobs(t)
  const { id } = await sink.startUpload(name)
  await t.rejects(sink.resumeUpload(other, id), { code: 'BLOB_UPLOAD_UNKNOWN', status: 404 })
})

test('mountBlob: a link of Distribution from a sha512 to its sha256 leads there in the other repository as well', async t => {
  const { sink, content, storage, damages } = await sinkWithBlobs(t)
  const long = digestOf(Buffer.from('layer'), 'sha512')
  await storage.put(keys.layer(name, long), Buffer.from(layer))
  t.ok(await sink.mountBlob(other, long, name))
  t.equal(await content.blobs.stat(other, long), 5)
  t.strictSame(damages, [])
})
