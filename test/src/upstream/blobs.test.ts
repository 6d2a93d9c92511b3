import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, never, read } from './ask.ts'

const mib = 1024 * 1024

test('upstream blob: one GET gives it whole, without a HEAD before', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a/b', 3 * mib)
  const { upstream } = clientOf(t, [server])
  const got = await read(upstream, 'a/b', digest)
  t.ok(got.bytes.equals(bytes))
  t.match(got, { size: bytes.length, offset: 0 })
  t.strictSame([server.requests.length, server.count('GET /v2/a/b/blobs/')], [1, 1])
  t.equal(server.requests[0]?.headers['accept-encoding'], 'identity')
})

test('upstream blob: without a length its size is unknown, and it is whole', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', mib)
  server.faults.noLength = true
  const got = await read(clientOf(t, [server]).upstream, 'a', digest)
  t.ok(got.bytes.equals(bytes))
  t.equal(got.size, undefined)
})

test('upstream blob: an empty one is no bytes', async t => {
  const server = await startUpstream(t)
  const digest = server.addBlob('a', Buffer.alloc(0)) as Digest
  t.match(await read(clientOf(t, [server]).upstream, 'a', digest), { size: 0, bytes: Buffer.alloc(0) })
})

for (const ignored of ['heeded', 'ignored']) {
  for (const [title, range, from, to] of [
    ['open', { first: 700 }, 700, 1000],
    ['closed', { first: 100, last: 199 }, 100, 200],
    ['past the end', { first: 900, last: 5000 }, 900, 1000],
    ['suffix', { suffix: 10 }, 990, 1000],
    ['long suffix', { suffix: 5000 }, 0, 1000]
  ] as const) {
    test(`upstream blob: a range (${title}) that is ${ignored} gives exactly its bytes`, async t => {
      const server = await startUpstream(t)
      const { bytes, digest } = blobIn(server, 'a', 1000)
      server.faults.ignoresRange = ignored === 'ignored'
      const got = await read(clientOf(t, [server]).upstream, 'a', digest, range)
      t.ok(got.bytes.equals(bytes.subarray(from, to)))
      t.match(got, { size: 1000, offset: from })
      t.equal(server.requests.length, 1)
    })
  }
  test(`upstream blob: a range outside of it is unsatisfiable and tells the size, if ranges are ${ignored}`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.ignoresRange = ignored === 'ignored'
    const error = await errorOf(read(clientOf(t, [server]).upstream, 'a', digest, { first: 1000 }))
    t.match(error, { kind: 'unsatisfiable', size: 1000 })
  })
}

test('upstream blob: a range outside of one without a length is unsatisfiable, not empty', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  Object.assign(server.faults, { ignoresRange: true, noLength: true })
  t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest, { first: 2000 })), { kind: 'unsatisfiable', size: 1000 })
})

test('upstream blob: a broken body is resumed by Range at exactly the byte where it broke', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 10 * mib)
  server.faults.cutAt = [4 * mib, 7 * mib]
  const { upstream, events } = clientOf(t, [server])
  const got = await read(upstream, 'a', digest)
  t.ok(got.bytes.equals(bytes))
  const last = bytes.length - 1
  t.strictSame(
    server.requests.map(each => each.range),
    [undefined, `bytes=${4 * mib}-${last}`, `bytes=${7 * mib}-${last}`]
  )
  t.equal(events.filter(each => each.type === 'resume').length, 2)
})

test('upstream blob: where Range is ignored, a broken body goes on with its first bytes skipped', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 2 * mib)
  server.faults.cutAt = [mib]
  server.faults.ignoresRange = true
  t.ok((await read(clientOf(t, [server]).upstream, 'a', digest)).bytes.equals(bytes))
  t.equal(server.requests.length, 2)
})

test('upstream blob: a body of unknown size goes on too', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 2 * mib)
  server.faults.noLength = true
  server.faults.cutAt = [mib]
  t.ok((await read(clientOf(t, [server]).upstream, 'a', digest)).bytes.equals(bytes))
})

test('upstream blob: of unknown size and cut behind its last byte, it is complete', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', mib)
  server.faults.noLength = true
  server.faults.cutAt = [mib]
  t.ok((await read(clientOf(t, [server]).upstream, 'a', digest)).bytes.equals(bytes))
  t.strictSame(
    server.requests.map(each => each.range),
    [undefined, `bytes=${mib}-`]
  )
})

test('upstream blob: a broken range goes on inside the range', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 4 * mib)
  server.faults.cutAt = [2 * mib]
  const got = await read(clientOf(t, [server]).upstream, 'a', digest, { first: mib, last: 3 * mib - 1 })
  t.ok(got.bytes.equals(bytes.subarray(mib, 3 * mib)))
  t.equal(server.requests[1]?.range, `bytes=${2 * mib}-${3 * mib - 1}`)
})

test('upstream blob: a body goes on at another endpoint when its own is gone', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t, { content: first.content })
  const { bytes, digest } = blobIn(first, 'a', 4 * mib)
  const gate = Promise.withResolvers<void>()
  first.faults.hold = { at: mib, until: gate.promise }
  const { upstream } = clientOf(t, [first, second])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  const chunks: Buffer[] = []
  let stopped = false
  for await (const chunk of body.chunks) {
    chunks.push(chunk)
    if (stopped) continue
    stopped = true
    await first.stop()
  }
  gate.resolve()
  t.ok(Buffer.concat(chunks).equals(bytes))
  t.strictSame([first.requests.length, second.requests.length], [1, 1])
  t.match(second.requests[0]?.range, /^bytes=\d+-\d+$/)
})

test('upstream blob: a body that breaks again and again without a byte ends as broken', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', mib)
  server.faults.cutAt = Array.from({ length: 50 }, () => 1000)
  t.equal((await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))).kind, 'broken')
  t.ok(server.requests.length <= 16, `${server.requests.length} requests`)
})

test('upstream blob: a body that breaks after every few bytes ends as broken', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', mib)
  server.faults.cutAt = Array.from({ length: 100 }, (_, index) => 10 + index)
  t.equal((await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))).kind, 'broken')
  t.ok(server.requests.length < 25, `${server.requests.length} requests`)
})

test('upstream blob: one that has another size when it goes on is broken, not mixed', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t)
  const { digest } = blobIn(first, 'a', mib)
  first.faults.cutAt = [1000]
  second.content.blobs.set('a', new Map([[digest, randomBytes(mib + 1)]]))
  const { upstream } = clientOf(t, [first, second])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  first.faults.statuses = [{ status: 500 }]
  const drained = (async () => {
    for await (const chunk of body.chunks) t.ok(chunk.length <= 1000)
  })()
  t.match(await errorOf(drained), { kind: 'broken' })
})

test('upstream blob: a chunked body longer than its Content-Range is broken', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 206, headers: { 'content-range': 'bytes 0-9/1000' }, body: 'x'.repeat(20) }]
  t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest, { first: 0, last: 9 })), { kind: 'broken', code: 'SIZE' })
})

test('upstream blob: a chunked body shorter than its Content-Range is broken', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 206, headers: { 'content-range': 'bytes 0-99/1000' }, body: 'x'.repeat(20) }]
  t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest, { first: 0, last: 99 })), { kind: 'broken', code: 'SIZE' })
})

test('upstream blob: a server that gives less than the range is asked for the rest', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 100)
  const headers = { 'content-range': 'bytes 10-29/100' }
  // Latin-1 would not survive a string: the first part is sent as text.
  bytes.fill('x', 10, 30)
  server.faults.statuses = [{ status: 206, times: 1, headers, body: 'x'.repeat(20) }]
  const got = await read(clientOf(t, [server]).upstream, 'a', digest, { first: 10 })
  t.ok(got.bytes.equals(bytes.subarray(10)))
  t.equal(server.requests[1]?.range, 'bytes=30-99')
})

test('upstream blob: a 206 for another range is invalid', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 100)
  server.faults.statuses = [{ status: 206, headers: { 'content-range': 'bytes 0-19/100' }, body: 'x'.repeat(20) }]
  t.equal((await errorOf(read(clientOf(t, [server]).upstream, 'a', digest, { first: 10 }))).kind, 'invalid')
})

test('upstream blob: a 206 without a requested range is invalid', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 100)
  server.faults.statuses = [{ status: 206, headers: { 'content-range': 'bytes 0-19/100' }, body: 'x'.repeat(20) }]
  t.equal((await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))).kind, 'invalid')
})

test('upstream blob: cancel ends the request upstream', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 20 * mib)
  const { upstream, events } = clientOf(t, [server])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  const read = (async () => {
    for await (const _ of body.chunks) body.cancel()
  })()
  await t.rejects(read, { name: 'AbortError' })
  await upstream.close()
  t.match(events.at(-1), { type: 'body', result: 'cancelled' })
  t.ok((server.requests[0]?.bytes ?? 0) < 20 * mib)
})

test('upstream blob: a body that is cancelled before it was read keeps nothing open', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 20 * mib)
  const { upstream } = clientOf(t, [server])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  body.cancel()
  await upstream.close()
  await t.rejects(body.chunks[Symbol.asyncIterator]().next(), { name: 'AbortError' })
})

test('upstream blob: a reader that leaves keeps nothing open', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 20 * mib)
  const { upstream } = clientOf(t, [server])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  for await (const _ of body.chunks) break
  await upstream.close()
  const unread = clientOf(t, [server]).upstream
  const other = await unread.streamBlob('a', digest, { signal: never() })
  await other.chunks[Symbol.asyncIterator]().return?.()
  await unread.close()
  t.equal(server.requests.length, 2)
})

test("upstream blob: the signal's reason ends the body and blames no endpoint", async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 20 * mib)
  const { upstream } = clientOf(t, [server])
  const left = new AbortController()
  const reason = new Error('left')
  const body = await upstream.streamBlob('a', digest, { signal: left.signal })
  const reading = (async () => {
    for await (const _ of body.chunks) left.abort(reason)
  })()
  await t.rejects(reading, reason)
  t.match(upstream.health(), [{ healthy: true }])
})

test('upstream blob: a body that stalls is a timeout, and goes on elsewhere', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t, { content: first.content })
  const { bytes, digest } = blobIn(first, 'a', mib)
  const gate = Promise.withResolvers<void>()
  t.teardown(() => gate.resolve())
  first.faults.hold = { at: 1000, until: gate.promise }
  const { upstream } = clientOf(t, [first, second], {
    limits: { connections: 2, connectTimeout: 1000, headerTimeout: 1000, bodyTimeout: 300 }
  })
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  t.match(upstream.health(), [{ healthy: false, lastError: { message: /Body Timeout/ } }, { healthy: true }])
})

test('upstream blob: a body that breaks before it is read is resumed when it is read', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 4 * mib)
  server.faults.cutAt = [1000]
  const { upstream } = clientOf(t, [server])
  const { chunks } = await upstream.streamBlob('a', digest, { signal: never() })
  await new Promise(resolve => setTimeout(resolve, 200))
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  t.ok(Buffer.concat(all).equals(bytes))
  t.equal(server.requests.length, 2)
})

test('upstream blob: a slow reader is not a stall', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 4 * mib)
  const { upstream } = clientOf(t, [server], { limits: { connections: 2, connectTimeout: 1000, headerTimeout: 1000, bodyTimeout: 200 } })
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  let length = 0
  for await (const chunk of body.chunks) {
    if (length === 0) await new Promise(resolve => setTimeout(resolve, 1500))
    length += chunk.length
  }
  t.equal(length, bytes.length)
  t.equal(server.requests.length, 1)
})

test('upstream blob: wrong bytes are passed on as they come; the reader knows the digest', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.faults.wrongByte = 500
  const got = await read(clientOf(t, [server]).upstream, 'a', digest)
  t.equal(got.bytes.length, bytes.length)
  t.not(digestOf(got.bytes), digest)
})

test('upstream blob: no more connections than allowed, and each is free again after its body', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 256 * 1024)
  const { upstream } = clientOf(t, [server], { limits: { connections: 2, connectTimeout: 1000, headerTimeout: 5000, bodyTimeout: 5000 } })
  const all = await Promise.all(Array.from({ length: 12 }, () => read(upstream, 'a', digest)))
  t.ok(all.every(each => each.bytes.equals(bytes)))
  t.equal(new Set(server.requests.map(each => each.port)).size, 2)
})

test('upstream stat of a blob: a HEAD with a length is enough', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  t.strictSame(await clientOf(t, [server]).upstream.checkBlob('a', digest, never()), { size: 1000 })
  t.strictSame(
    server.requests.map(each => each.method),
    ['HEAD']
  )
})

for (const status of [401, 403, 405, 501]) {
  test(`upstream stat of a blob: a HEAD refused by ${status} becomes a GET that is not read`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 30 * mib)
    server.faults.headStatus = status
    const { upstream } = clientOf(t, [server])
    t.strictSame(await upstream.checkBlob('a', digest, never()), { size: 30 * mib })
    await upstream.close()
    t.equal(server.count('GET'), 1)
    t.ok((server.requests.at(-1)?.bytes ?? 0) < 30 * mib)
  })
}

test('upstream stat of a blob: without a length anywhere the size stays unknown', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.noLength = true
  t.strictSame(await clientOf(t, [server]).upstream.checkBlob('a', digest, never()), {})
  t.strictSame(
    server.requests.map(each => each.method),
    ['HEAD', 'GET']
  )
})

test('upstream stat of a blob: what is not there is not found after one HEAD', async t => {
  const server = await startUpstream(t)
  const { upstream } = clientOf(t, [server])
  t.match(await errorOf(upstream.checkBlob('a', digestOf(Buffer.from('none')), never())), { kind: 'not-found', status: 404 })
  t.equal(server.requests.length, 1)
})
