import { test } from 'tap'
import { digestOf } from '../../../src/oci/digest.ts'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, limits, never, read, ref } from './ask.ts'

const dead = { url: 'http://127.0.0.1:1' }

test('upstream endpoints: one that refuses connections is passed over, and tried last afterwards', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  const { upstream, events } = clientOf(t, [dead, server])
  await read(upstream, 'a', digest)
  await read(upstream, 'a', digest)
  t.equal(events.filter(each => each.type === 'failure').length, 1)
  t.match(upstream.health(), [{ url: dead.url, healthy: false, lastError: { message: /ECONNREFUSED/ } }, { healthy: true }])
})

test('upstream endpoints: after its backoff an endpoint has its place again', async t => {
  let now = 1_000_000
  const first = await startUpstream(t)
  const second = await startUpstream(t, { content: first.content })
  const { digest } = blobIn(first, 'a', 1000)
  const { upstream } = clientOf(t, [first, second], { hooks: { now: () => now } })
  first.faults.statuses = [{ status: 503, times: 1 }]
  await read(upstream, 'a', digest)
  await read(upstream, 'a', digest)
  t.strictSame([first.requests.length, second.requests.length], [1, 2])
  now += 2000
  await read(upstream, 'a', digest)
  t.strictSame([first.requests.length, second.requests.length], [2, 2])
  t.match(upstream.health(), [{ healthy: true }, { healthy: true }])
})

for (const status of [408, 500, 502, 503, 504]) {
  test(`upstream endpoints: after a ${status} the next one is asked`, async t => {
    const first = await startUpstream(t)
    const second = await startUpstream(t, { content: first.content })
    const { bytes, digest } = blobIn(first, 'a', 1000)
    first.faults.statuses = [{ status }]
    t.ok((await read(clientOf(t, [first, second]).upstream, 'a', digest)).bytes.equals(bytes))
    t.strictSame([first.requests.length, second.requests.length], [1, 1])
  })
}

test('upstream endpoints: one that gives no head in time is passed over', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t, { content: first.content })
  const { bytes, digest } = blobIn(first, 'a', 1000)
  first.faults.headerDelay = 3000
  const { upstream } = clientOf(t, [first, second], { limits: { ...limits, headerTimeout: 200 } })
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  t.equal(first.requests.length, 1)
})

test('upstream endpoints: a head that does not come is a timeout, and not asked for again', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.headerDelay = 3000
  const { upstream } = clientOf(t, [server], { limits: { ...limits, headerTimeout: 200 } })
  t.equal((await errorOf(read(upstream, 'a', digest))).kind, 'timeout')
  t.equal(server.requests.length, 1)
})

test('upstream endpoints: what one has not, another may have', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t)
  const { bytes, digest } = blobIn(second, 'a', 1000)
  const { upstream } = clientOf(t, [first, second])
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  t.match(upstream.health(), [{ healthy: true }, { healthy: true }])
})

test('upstream endpoints: not found is said after all said so, once each', async t => {
  const [first, second] = [await startUpstream(t), await startUpstream(t)]
  const error = await errorOf(read(clientOf(t, [first, second]).upstream, 'a', digestOf(Buffer.from('none'))))
  t.match(error, { kind: 'not-found', status: 404, code: 'BLOB_UNKNOWN' })
  t.strictSame([first.requests.length, second.requests.length], [1, 1])
})

test('upstream endpoints: not found is not said while one that may have it cannot be asked', async t => {
  const server = await startUpstream(t)
  t.equal((await errorOf(read(clientOf(t, [server, dead]).upstream, 'a', digestOf(Buffer.from('none'))))).kind, 'unreachable')
})

test('upstream endpoints: a failure that may pass is tried again', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 502, times: 1 }]
  server.faults.hangUps = 1
  t.ok((await read(clientOf(t, [server]).upstream, 'a', digest)).bytes.equals(bytes))
  t.equal(server.requests.length, 3)
})

test('upstream endpoints: tries are three at most, with growing waits between', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 500 }]
  const waits: number[] = []
  const { upstream } = clientOf(t, [server], { hooks: { random: () => 0.5, sleep: async ms => void waits.push(ms) } })
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'broken', status: 500 })
  t.equal(server.requests.length, 3)
  t.strictSame(waits, [150, 300])
})

for (const [status, kind] of [
  [403, 'denied'],
  [400, 'invalid'],
  [418, 'invalid']
] as const) {
  test(`upstream endpoints: a ${status} is ${kind}, and not asked for again`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.statuses = [{ status, body: '{"errors":[{"code":"DENIED"}]}' }]
    t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest)), { kind, status, code: 'DENIED' })
    t.equal(server.requests.length, 1)
  })
}

test('upstream limit: after a 429 with Retry-After nothing is asked until then, and then once', async t => {
  let now = 1_000_000
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 429, times: 1, headers: { 'retry-after': '60' } }]
  const { upstream, events } = clientOf(t, [server], { hooks: { now: () => now } })
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'limited', status: 429, retryAfter: 60_000 })
  t.match(
    events.filter(each => each.type === 'breaker'),
    [{ until: now + 60_000 }]
  )
  now += 59_000
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'limited', retryAfter: 1000 })
  t.match(upstream.health(), [{ healthy: false, openUntil: now + 1000 }])
  t.equal(server.requests.length, 1)
  now += 1000
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  t.equal(server.requests.length, 2)
})

test('upstream limit: after the time one request probes the endpoint, and the others are refused until its response', async t => {
  let now = 1_000_000
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 429, headers: { 'retry-after': '60' } }]
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  await errorOf(read(upstream, 'a', digest))
  now += 60_000
  const errors = await Promise.all(Array.from({ length: 5 }, () => errorOf(read(upstream, 'a', digest))))
  t.ok(errors.every(each => each.kind === 'limited'))
  t.equal(server.requests.length, 2)
})

test('upstream limit: a probe that is aborted lets the next one go', async t => {
  let now = 1_000_000
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 429, times: 1, headers: { 'retry-after': '60' } }]
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  await errorOf(read(upstream, 'a', digest))
  now += 60_000
  const left = new AbortController()
  const first = upstream.streamBlob('a', digest, { signal: left.signal })
  left.abort(new Error('left'))
  await t.rejects(first, /left/)
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
})

test('upstream limit: another endpoint serves meanwhile', async t => {
  const first = await startUpstream(t)
  const second = await startUpstream(t, { content: first.content })
  const { digest } = blobIn(first, 'a', 1000)
  first.faults.statuses = [{ status: 429, headers: { 'retry-after': '60' } }]
  const { upstream } = clientOf(t, [first, second])
  await read(upstream, 'a', digest)
  await read(upstream, 'a', digest)
  t.strictSame([first.requests.length, second.requests.length], [1, 2])
})

for (const status of [401, 403, 400, 429]) {
  test(`upstream health: beside a ${status} that no other response has followed an endpoint is not healthy`, async t => {
    let now = 1_000_000
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.statuses = [{ status, times: 1 }]
    const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
    await errorOf(read(upstream, 'a', digest))
    now += 20_000
    t.match(upstream.health(), [{ healthy: false, lastError: { message: String, at: 1_000_000 } }])
    await read(upstream, 'a', digest)
    t.match(upstream.health(), [{ healthy: true }])
  })
}

test('upstream health: content that an upstream does not have says nothing about it', async t => {
  const server = await startUpstream(t)
  const { upstream } = clientOf(t, [server])
  await errorOf(read(upstream, 'a', digestOf(Buffer.from('none'))))
  t.strictSame(upstream.health(), [{ url: server.url, healthy: true }])
})

test('upstream limit: a 503 with Retry-After is a limit too', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 503, headers: { 'retry-after': '30' } }]
  t.match(await errorOf(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never())), {
    kind: 'limited',
    status: 503,
    retryAfter: 30_000
  })
  t.equal(server.requests.length, 1)
})

test('upstream limit: a Retry-After of years is an hour', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 429, headers: { 'retry-after': '999999999' } }]
  t.equal((await errorOf(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never()))).retryAfter, 3_600_000)
})

test('upstream close: it waits for a running body, and refuses what is new', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 3_000_000)
  const { upstream } = clientOf(t, [server])
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  const closed = upstream.close()
  t.match(await errorOf(upstream.checkBlob('a', digest, never())), { kind: 'unreachable' })
  let length = 0
  for await (const chunk of body.chunks) length += chunk.length
  t.equal(length, bytes.length)
  await closed
})

test('upstream events: requests, bodies and their bytes are reported', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  const { upstream, events } = clientOf(t, [server])
  await read(upstream, 'a', digest)
  const endpoint = new URL(server.url).host
  t.match(events, [
    { type: 'answer', endpoint, resource: 'blob', method: 'GET', status: 200, ms: Number },
    { type: 'body', endpoint, bytes: 1000, result: 'complete' }
  ])
})
