import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import * as keys from '../../../../src/content/keys.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { blobText, bodyOf, chunkOf, named, neverAborted, openFor } from '../../../support/content.ts'
import { keysBelow, openStorage, walked } from '../../../support/storage.ts'

const name = named('some/name')
const text = 'what a client pushes'
const digest = digestOf(Buffer.from(text))
const tree = 'docker/registry/v2'

test('uploads: idle sessions expire in every repository, and leave nothing', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const [empty, begun] = [await content.uploads.start(name), await content.uploads.start(named('other/one'))]
  await begun.append(chunkOf(bodyOf(text)))
  t.equal(await content.uploads.expire(Date.now() + 60_000, neverAborted), 2)
  t.strictSame(await keysBelow(storage, tree), [])
  for (const session of [empty, begun]) await t.rejects(session.finish(digest), { code: 'BLOB_UPLOAD_UNKNOWN' })
})

test('uploads: sessions of an earlier process expire too', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  await (await before.content.uploads.start(name)).append(chunkOf(bodyOf(text)))
  const { content } = await openFor(t, storage)
  t.equal(await content.uploads.expire(Date.now() + 60_000, neverAborted), 1)
  t.strictSame(await keysBelow(storage, tree), [])
})

test('uploads: sessions with newer bytes stay', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const session = await content.uploads.start(name)
  const hourAgo = new Date(Date.now() - 3_600_000)
  await utimes(join(storage.root, keys.uploadStarted(name, session.id)), hourAgo, hourAgo)
  await session.append(chunkOf(bodyOf(text)))
  t.equal(await content.uploads.expire(Date.now() - 60_000, neverAborted), 0)
  await session.finish(digest)
})

test('uploads: a session with a running request does not expire, and does not delay the others', async t => {
  const { content } = await openFor(t)
  const [active, idle] = [await content.uploads.start(named('a')), await content.uploads.start(named('b'))]
  const gate = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  const body = async function* () {
    yield Buffer.from(text.slice(0, 5))
    begun.resolve()
    await gate.promise
    yield Buffer.from(text.slice(5))
  }
  const append = active.append(chunkOf(body()))
  await begun.promise
  t.equal(await content.uploads.expire(Date.now() + 60_000, neverAborted), 1)
  await t.rejects(idle.cancel(), { code: 'BLOB_UPLOAD_UNKNOWN' })
  gate.resolve()
  t.equal(await append, text.length)
  await active.finish(digest)
  t.equal(await blobText(content, named('a'), digest), text)
})

test('uploads: expiry ends when its signal is aborted', async t => {
  const { content } = await openFor(t)
  await content.uploads.start(name)
  t.equal(await content.uploads.expire(Date.now() + 60_000, AbortSignal.abort()), 0)
})

test('uploads: a session that another registry started expires, and leaves nothing', async t => {
  const storage = await openStorage(t)
  const session = `${keys.uploads(name)}/00000000-0000-4000-8000-000000000000`
  for (const left of ['data', 'startedat', 'hashstates/sha256/0', 'hashstates/sha256/17']) {
    await storage.put(`${session}/${left}`, Buffer.from('x'))
  }
  const { content } = await openFor(t, storage)
  t.equal(await content.uploads.expire(Date.now() + 60_000, neverAborted), 1)
  t.strictSame(await walked(storage, keys.uploads(name)), [])
})
