import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { digestOf } from '../../../src/oci/digest.ts'
import { blobText, bodyOf, chunkOf, imageOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { mountSmall } from '../../support/place.ts'
import { keysBelow, openStorage } from '../../support/storage.ts'

const name = named('some/name')
const mebibyte = 1024 * 1024

test('a full disk: an upload ends with ENOSPC in the middle, and its bytes are freed before the request fails', async t => {
  const small = await mountSmall(t, 4 * mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const { content, storage } = await openFor(t, await openStorage(t, small.directory))
  const sound = await pushBlob(content, name, 'there before')
  const { free = 0 } = await storage.usage()
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf(randomBytes(mebibyte))))
  await t.rejects(session.append(chunkOf(bodyOf(randomBytes(6 * mebibyte), 100))), { code: 'ENOSPC' })
  t.ok(((await storage.usage()).free ?? 0) >= free - 64 * 1024, 'its bytes are free')
  await t.rejects(session.append(chunkOf(bodyOf('x'))), { code: 'BLOB_UPLOAD_UNKNOWN' })
  t.equal(await blobText(content, name, sound), 'there before', 'reads go on')
  const next = await pushBlob(content, name, randomBytes(2 * mebibyte))
  t.equal(await content.blobs.stat(name, next), 2 * mebibyte, 'and so do later uploads, with no hand')
  t.notOk((await keysBelow(storage, 'docker')).some(key => key.includes('_uploads')))
})

test('a full disk: a manifest that cannot be stored leaves the tag where it was', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const { content } = await openFor(t, await openStorage(t, small.directory))
  const tag = tagged('v1')
  const old = await storeManifest(content, name, imageOf('a', []), { tags: [tag] })
  const large = imageOf('b', [], { annotations: { a: 'x'.repeat(2 * mebibyte) } })
  await t.rejects(storeManifest(content, name, large, { tags: [tag] }), { code: 'ENOSPC' })
  t.equal(await content.tags.resolve(name, tag), old)
  t.equal(await content.manifests.get(name, digestOf(large)), undefined)
})

test('a full disk: sessions are refused with ENOSPC and leave no directory', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const storage = await openStorage(t, small.directory)
  const { content } = await openFor(t, storage)
  const filling = await storage.create('filling')
  await t.rejects(filling.write([Buffer.alloc(2 * mebibyte)]), { code: 'ENOSPC' })
  await t.rejects(content.uploads.start(name), { code: 'ENOSPC' })
  await filling.discard()
  await pushBlob(content, name, 'it works again')
  t.notOk((await keysBelow(storage, 'docker')).some(key => key.includes('_uploads')))
})
