import { test } from 'tap'
import * as keys from '../../../../src/content/keys.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { parseSessionId, type SessionId } from '../../../../src/oci/sink.ts'
import type { Storage, Writer } from '../../../../storage/storage.ts'
import { blobText, bodyOf, brokenAfter, chunkOf, named, openFor, pushBlob } from '../../../support/content.ts'
import { keysBelow, openStorage, textOf, watchStorage } from '../../../support/storage.ts'

const name = named('some/name')
const text = 'what a client pushes'
const digest = digestOf(Buffer.from(text))
const tree = 'docker/registry/v2'

test('uploads: a blob that was pushed in chunks can be read, and nothing else is left', async t => {
  const { content, storage } = await openFor(t)
  const session = await content.uploads.start(name)
  t.equal(session.offset, 0)
  t.equal(await session.append(chunkOf(bodyOf(text.slice(0, 5), 3), { offset: 0, length: 5 })), 5)
  t.equal(await session.append(chunkOf(bodyOf(text.slice(5)), { offset: 5 })), text.length)
  t.match(await session.finish(digest), { digest, size: text.length, mediaType: 'application/octet-stream' })
  t.equal(await blobText(content, name, digest), text)
  t.strictSame(await keysBelow(storage, tree), [keys.blob(digest), keys.layer(name, digest)])
})

test('uploads: a session that has ended is unknown, however it ended', async t => {
  const { content } = await openFor(t)
  const [finished, cancelled, refused] = [
    await content.uploads.start(name),
    await content.uploads.start(name),
    await content.uploads.start(name)
  ]
  await finished.append(chunkOf(bodyOf(text)))
  await finished.finish(digest)
  await cancelled.cancel()
  await t.rejects(refused.finish(digest), { code: 'DIGEST_INVALID' })
  for (const session of [finished, cancelled, refused]) {
    await t.rejects(session.append(chunkOf(bodyOf('x'))), { code: 'BLOB_UPLOAD_UNKNOWN' })
    await t.rejects(session.append(chunkOf(bodyOf('x'), { offset: 3 })), { code: 'BLOB_UPLOAD_UNKNOWN' })
    await t.rejects(session.finish(digest), { code: 'BLOB_UPLOAD_UNKNOWN' })
    await t.rejects(session.cancel(), { code: 'BLOB_UPLOAD_UNKNOWN' })
    await t.rejects(content.uploads.resume(name, session.id), { code: 'BLOB_UPLOAD_UNKNOWN' })
  }
  t.equal(content.uploads.open, 0)
})

test('uploads: a session whose bytes were not stored completely has ended, even if its body was truncated too', async t => {
  const below = await openStorage(t)
  const failing = (writer: Writer): Writer => ({
    key: writer.key,
    get offset() {
      return writer.offset
    },
    write: chunks => writer.write(chunks),
    truncate: offset => writer.truncate(offset),
    read: (into, position) => writer.read(into, position),
    fingerprint: offset => writer.fingerprint(offset),
    publish: to => writer.publish(to),
    discard: () => writer.discard(),
    close: async () => {
      await writer.close()
      throw Object.assign(new Error('the disk is gone'), { code: 'EIO' })
    }
  })
  const storage = new Proxy<Storage>(below, {
    get: (target, key) => {
      if (key === 'create') return async (at: string) => (at.endsWith('/data') ? failing(await target.create(at)) : target.create(at))
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  const { content } = await openFor(t, storage)
  const session = await content.uploads.start(name)
  await t.rejects(session.append(chunkOf(brokenAfter('arrived'))), { code: 'EIO' })
  await t.rejects(content.uploads.resume(name, session.id), { code: 'BLOB_UPLOAD_UNKNOWN' })
  t.strictSame(await keysBelow(storage, tree), [])
})

test('uploads: a session belongs to its repository', async t => {
  const { content, storage } = await openFor(t)
  const session = await content.uploads.start(name)
  await t.rejects(content.uploads.resume(named('other'), session.id), { code: 'BLOB_UPLOAD_UNKNOWN' })
  const restarted = await openFor(t, storage)
  await t.rejects(restarted.content.uploads.resume(named('other'), session.id), { code: 'BLOB_UPLOAD_UNKNOWN' })
  t.equal((await restarted.content.uploads.resume(name, session.id)).offset, 0)
})

test('uploads: a session that was never started is unknown, and a text that is no session is not looked up', async t => {
  const { content } = await openFor(t)
  await t.rejects(content.uploads.resume(name, '00000000-0000-4000-8000-000000000000' as SessionId), { code: 'BLOB_UPLOAD_UNKNOWN' })
  for (const id of ['', '..', '../../x', 'x', '00000000-0000-4000-8000-00000000000G', '00000000-0000-4000-8000-000000000000/..']) {
    t.equal(parseSessionId(id), undefined)
  }
})

test('uploads: after a restart a session goes on at its offset, and the digest is that of all bytes', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  const first = await before.content.uploads.start(name)
  await first.append(chunkOf(bodyOf(text.slice(0, 5))))
  const { content } = await openFor(t, storage)
  const session = await content.uploads.resume(name, first.id)
  t.equal(session.offset, 5)
  await session.append(chunkOf(bodyOf(text.slice(5)), { offset: 5 }))
  await session.finish(digest)
  t.equal(await blobText(content, name, digest), text)
})

test('uploads: after a restart wrong bytes are refused as before', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  const first = await before.content.uploads.start(name)
  await first.append(chunkOf(bodyOf('other bytes')))
  const { content } = await openFor(t, storage)
  const session = await content.uploads.resume(name, first.id)
  await t.rejects(session.finish(digest), { code: 'DIGEST_INVALID' })
  t.strictSame(await keysBelow(storage, tree), [])
})

test('uploads: a session that was started for sha256 can end with a sha512, and the other way round', async t => {
  const { content } = await openFor(t)
  for (const [began, ends] of [
    ['sha256', 'sha512'],
    ['sha512', 'sha256'],
    ['sha512', 'sha512']
  ] as const) {
    const session = await content.uploads.start(name, began)
    await session.append(chunkOf(bodyOf(text)))
    const wanted = digestOf(Buffer.from(text), ends)
    await session.finish(wanted)
    t.equal(await blobText(content, name, wanted), text)
  }
})

test('uploads: a wrong digest is DIGEST_INVALID and leaves nothing behind', async t => {
  const { content, storage } = await openFor(t)
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf('other bytes')))
  await t.rejects(session.finish(digest), { code: 'DIGEST_INVALID', detail: { actual: digestOf(Buffer.from('other bytes')) } })
  t.strictSame(await keysBelow(storage, tree), [])
  t.equal(await content.blobs.stat(name, digest), undefined)
})

test('uploads: a wrong digest does not touch the blob that is there under the right one', async t => {
  const { content } = await openFor(t)
  await pushBlob(content, name, text)
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf('other bytes')))
  await t.rejects(session.finish(digest), { code: 'DIGEST_INVALID' })
  t.equal(await blobText(content, name, digest), text)
})

for (const [title, length] of [
  ['shorter', 9],
  ['longer', 5]
] as const) {
  test(`uploads: a body that is ${title} than declared is SIZE_INVALID, and the session stands where it stood`, async t => {
    const { content, storage } = await openFor(t)
    const session = await content.uploads.start(name)
    await session.append(chunkOf(bodyOf(text.slice(0, 5))))
    await t.rejects(session.append(chunkOf(bodyOf('garbage', 7), { offset: 5, length })), { code: 'SIZE_INVALID' })
    t.equal(session.offset, 5)
    t.equal(await textOf(storage, keys.upload(name, session.id)), text.slice(0, 5))
    await session.append(chunkOf(bodyOf(text.slice(5)), { offset: 5, length: text.length - 5 }))
    await session.finish(digest)
    t.equal(await blobText(content, name, digest), text)
  })
}

test('uploads: a chunk for another offset is refused unread, and the error has the offset of the session', async t => {
  const { content } = await openFor(t)
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf('12345')))
  let read = false
  const body = async function* () {
    read = true
    yield Buffer.from('x')
  }
  for (const offset of [0, 4, 6]) await t.rejects(session.append(chunkOf(body(), { offset })), { name: 'UploadOffsetError', offset: 5 })
  t.notOk(read)
  t.equal(session.offset, 5)
})

test('uploads: the bytes that arrived of a truncated body stay, and the session can be resumed', async t => {
  const { content } = await openFor(t)
  const session = await content.uploads.start(name)
  await t.rejects(session.append(chunkOf(brokenAfter(text.slice(0, 8)), { length: text.length })), { name: 'BodyBrokenError' })
  t.equal(session.offset, 8)
  await session.append(chunkOf(bodyOf(text.slice(8)), { offset: 8 }))
  await session.finish(digest)
  t.equal(await blobText(content, name, digest), text)
})

test('uploads: a request that is aborted ends like a truncated body', async t => {
  const { content } = await openFor(t)
  const session = await content.uploads.start(name)
  const request = new AbortController()
  const body = async function* () {
    yield Buffer.from(text.slice(0, 8))
    request.abort()
    yield Buffer.from('lost')
  }
  await t.rejects(session.append({ body: body(), signal: request.signal }), { name: 'BodyBrokenError' })
  t.equal(session.offset, 8)
  t.equal((await content.uploads.resume(name, session.id)).offset, 8)
})

test('uploads: a body without bytes changes nothing', async t => {
  const { content } = await openFor(t)
  const session = await content.uploads.start(name)
  t.equal(await session.append(chunkOf(bodyOf(''), { length: 0 })), 0)
  await t.rejects(session.append(chunkOf(bodyOf(''), { length: 1 })), { code: 'SIZE_INVALID' })
  t.equal(session.offset, 0)
  await session.append(chunkOf(bodyOf(text)))
  await session.finish(digest)
})

test('uploads: two requests to one session run one after another', async t => {
  const { content } = await openFor(t)
  const started = await content.uploads.start(name)
  const gate = Promise.withResolvers<void>()
  const slow = async function* () {
    yield Buffer.from(text.slice(0, 5))
    await gate.promise
    yield Buffer.from(text.slice(5, 10))
  }
  const [first, second] = [started, await content.uploads.resume(name, started.id)]
  const appends = [first.append(chunkOf(slow(), { offset: 0 })), second.append(chunkOf(bodyOf(text.slice(10)), { offset: 10 }))]
  const finished = second.finish(digest)
  gate.resolve()
  t.strictSame(await Promise.all(appends), [10, text.length])
  await finished
  t.equal(await blobText(content, name, digest), text)
})

test('uploads: after a restart requests that resume a session at once share it', async t => {
  const storage = await openStorage(t)
  const before = await openFor(t, storage)
  const { id } = await before.content.uploads.start(name)
  const { content } = await openFor(t, storage)
  const [a, b] = await Promise.all([content.uploads.resume(name, id), content.uploads.resume(name, id)])
  t.equal(a, b)
})

test('uploads: a request that waits for one that fails goes on at the offset of the session', async t => {
  const { content } = await openFor(t)
  const session = await content.uploads.start(name)
  const broken = session.append(chunkOf(brokenAfter(text.slice(0, 8))))
  const next = session.append(chunkOf(bodyOf(text.slice(8)), { offset: 8 }))
  await t.rejects(broken, { name: 'BodyBrokenError' })
  t.equal(await next, text.length)
})

test('uploads: two clients that push the same blob at once both succeed', async t => {
  const { content, storage } = await openFor(t)
  const names = ['a', 'a', 'b', 'c', 'c'].map(each => named(each))
  await Promise.all(names.map(each => pushBlob(content, each, text)))
  for (const each of names) t.equal(await blobText(content, each, digest), text)
  t.equal(content.uploads.open, 0)
  t.strictSame(await keysBelow(storage, `${tree}/blobs`), [keys.blob(digest)])
})

test('uploads: a push and a delete of the same blob at once both succeed', async t => {
  const { content, storage } = await openFor(t)
  for (let round = 0; round < 30; round++) {
    await Promise.all([pushBlob(content, name, text), content.commit.unlinkBlob(name, digest)])
    const onDisk = (await storage.stat(keys.layer(name, digest))) !== undefined
    if (((await content.blobs.stat(name, digest)) !== undefined) !== onDisk) t.fail(`round ${round}: memory and disk differ`)
  }
  t.pass()
})

test('uploads: what cannot be started leaves nothing behind', async t => {
  const below = await openStorage(t)
  const { content } = await openFor(
    t,
    watchStorage(below, call => {
      if (call === 'put soon') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    })
  )
  await t.rejects(content.uploads.start(name), { code: 'ENOSPC' })
  t.strictSame(await Array.fromAsync(below.walk(keys.uploads(name))), [])
  t.equal(content.uploads.open, 0)
})

test('uploads: a blob that cannot be published is not linked, and its bytes are freed', async t => {
  const below = await openStorage(t)
  const { content } = await openFor(
    t,
    watchStorage(below, call => {
      if (call === 'publish') throw Object.assign(new Error('fsync'), { code: 'EIO' })
    })
  )
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf(text)))
  await t.rejects(session.finish(digest), { code: 'EIO' })
  t.strictSame(await keysBelow(below, tree), [])
  t.equal(content.uploads.open, 0)
})

test('uploads: a blob that was published but could not be linked is sound', async t => {
  const below = await openStorage(t)
  let failing = true
  const { content } = await openFor(
    t,
    watchStorage(below, call => {
      if (call === 'put' && failing) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    })
  )
  const session = await content.uploads.start(name)
  await session.append(chunkOf(bodyOf(text)))
  await t.rejects(session.finish(digest), { code: 'ENOSPC' })
  t.equal(await textOf(below, keys.blob(digest)), text)
  t.equal(await content.blobs.stat(name, digest), undefined)
  failing = false
  await pushBlob(content, name, text)
  t.equal(await blobText(content, name, digest), text)
})
