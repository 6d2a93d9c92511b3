import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, never, read, ref, served } from './ask.ts'

const credentials = { username: 'user', password: 'p:ä' }

test('upstream Basic: nothing is sent before it is asked for, and always afterwards', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Basic', ...credentials } })
  const { tag } = { ...server.addImage('a', '1'), tag: '1' }
  const { upstream } = clientOf(t, [server], { credentials })
  await served(upstream.statManifest('a', ref(tag), never()))
  await served(upstream.statManifest('a', ref(tag), never()))
  t.strictSame(
    server.requests.map(each => each.authorization !== undefined),
    [false, true, true]
  )
})

test('upstream Basic: wrong credentials are unauthorized after one try, and the message does not name them', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Basic', username: 'user', password: 'other' } })
  server.addImage('a', '1')
  const error = await errorOf(clientOf(t, [server], { credentials }).upstream.fetchManifest('a', ref('1'), { signal: never() }))
  t.match(error, { kind: 'unauthorized', status: 401, code: 'UNAUTHORIZED' })
  t.notMatch(error.message, /user|p:ä/)
  t.equal(server.requests.length, 2)
})

test('upstream Basic: without credentials it is unauthorized after one request', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Basic', ...credentials } })
  t.equal((await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }))).kind, 'unauthorized')
  t.equal(server.requests.length, 1)
})

test('upstream Bearer: one token serves all requests for a name', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', ...credentials } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { credentials })
  for (let count = 0; count < 3; count++) await served(upstream.statManifest('a', ref('1'), never()))
  t.strictSame([server.requests.length, server.tokenRequests.length], [4, 1])
  t.equal(new URLSearchParams(server.tokenRequests[0]?.query).get('scope'), 'repository:a:pull')
  t.equal(new URLSearchParams(server.tokenRequests[0]?.query).get('service'), 'test')
})

test('upstream Bearer: a token for one name is not used for another', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  server.addImage('a', '1')
  server.addImage('b', '1')
  const { upstream } = clientOf(t, [server])
  await served(upstream.statManifest('a', ref('1'), never()))
  await served(upstream.statManifest('b', ref('1'), never()))
  t.equal(server.tokenRequests.length, 2)
  t.equal(server.requests[2]?.authorization, undefined)
})

test('upstream Bearer: many who wait for a slow token service make one request', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', tokenDelay: 100 } })
  const { digest } = blobIn(server, 'a', 1000)
  const { upstream } = clientOf(t, [server])
  await Promise.all(Array.from({ length: 8 }, () => read(upstream, 'a', digest)))
  t.equal(server.tokenRequests.length, 1)
})

test('upstream Bearer: an aborted request does not abort the token request that others wait for', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', tokenDelay: 100 } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server])
  const left = new AbortController()
  const reason = new Error('left')
  const first = t.rejects(upstream.statManifest('a', ref('1'), left.signal), reason)
  while (server.tokenRequests.length === 0) await new Promise(resolve => setTimeout(resolve, 5))
  const second = upstream.statManifest('a', ref('1'), never())
  left.abort(reason)
  await first
  t.match(await served(second), { size: Number })
  t.equal(server.tokenRequests.length, 1)
})

test('upstream Bearer: a token is renewed before it expires', async t => {
  let now = 1_000_000
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 100 } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  await served(upstream.statManifest('a', ref('1'), never()))
  now += 70_000
  await served(upstream.statManifest('a', ref('1'), never()))
  t.equal(server.tokenRequests.length, 1)
  now += 10_000
  await served(upstream.statManifest('a', ref('1'), never()))
  t.strictSame([server.tokenRequests.length, server.requests.length], [2, 4], 'without another 401')
})

test('upstream Bearer: while the token service is away, the old token serves until it expires', async t => {
  let now = 1_000_000
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 100 } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  await served(upstream.statManifest('a', ref('1'), never()))
  server.desk.auth = { scheme: 'Bearer', tokenStatus: 500 }
  now += 80_000
  t.match(await served(upstream.statManifest('a', ref('1'), never())), { size: Number })
  now += 30_000
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'broken', code: 'TOKEN', status: 500 })
})

test('upstream Bearer: a token that is revoked is replaced once', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server])
  await served(upstream.statManifest('a', ref('1'), never()))
  server.desk.revoke()
  t.match(await served(upstream.statManifest('a', ref('1'), never())), { size: Number })
  t.equal(server.tokenRequests.length, 2)
})

test('upstream Bearer: tokens that are always refused end as unauthorized after one refresh', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  const challenge = `Bearer realm="${server.url}/token",service="test",scope="repository:other:pull",error="invalid_token"`
  server.desk.auth = { scheme: 'Bearer', challenge }
  t.equal((await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }))).kind, 'unauthorized')
  t.strictSame([server.requests.length, server.tokenRequests.length], [3, 2])
})

test('upstream Bearer: wrong credentials at the token service are unauthorized, and the error names the token service', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', username: 'user', password: 'other' } })
  const error = await errorOf(clientOf(t, [server], { credentials }).upstream.statManifest('a', ref('1'), never()))
  t.match(error, { kind: 'unauthorized', code: 'TOKEN', message: /GET of a token from .* answered 401$/ })
  t.strictSame([server.requests.length, server.tokenRequests.length], [1, 1])
})

test('upstream Bearer: a token service without a token is invalid', async t => {
  const server = await startUpstream(t)
  for (const tokenBody of ['', 'null', '[]', '{}', '{"token":7}', '{"token":"a b"}', '{"token":"a\\r\\nx: y"}', '<html>']) {
    server.desk.auth = { scheme: 'Bearer', tokenBody }
    t.match(
      await errorOf(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never())),
      { kind: 'invalid', code: 'TOKEN' },
      tokenBody
    )
  }
})

test('upstream Bearer: an answer of the token service without end is not read', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', tokenBody: `{"token":"${'a'.repeat(2 * 1024 * 1024)}"}` } })
  await t.rejects(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never()), { name: 'UpstreamError' })
})

test('upstream Bearer: access_token is a token too', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', tokenBody: '{"access_token":"mine"}' } })
  await errorOf(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never()))
  t.equal(server.requests[1]?.authorization, 'Bearer mine')
})

test('upstream Bearer: credentials do not go to a realm of another domain', async t => {
  const server = await startUpstream(t)
  const other = await startUpstream(t)
  const realm = other.url.replace('127.0.0.1', 'localhost')
  server.desk.auth = { scheme: 'Bearer', realm: `${realm}/token` }
  const error = await errorOf(clientOf(t, [server], { credentials }).upstream.statManifest('a', ref('1'), never()))
  t.match(error, { kind: 'refused', code: 'REALM' })
  t.equal(other.tokenRequests.length, 0)
})

test('upstream Bearer: a realm on a host of the settings is asked', async t => {
  const server = await startUpstream(t)
  const other = await startUpstream(t, { auth: { scheme: 'Bearer', tokenBody: '{"token":"mine"}' } })
  const host = new URL(other.url.replace('127.0.0.1', 'localhost')).host
  server.desk.auth = { scheme: 'Bearer', realm: `http://${host}/token` }
  await errorOf(clientOf(t, [server], { credentials, tokenHosts: [host] }).upstream.statManifest('a', ref('1'), never()))
  t.match(other.tokenRequests[0]?.authorization, /^Basic /)
  t.equal(server.requests[1]?.authorization, 'Bearer mine')
})

test('upstream challenge: an unknown scheme is unauthorized', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', challenge: 'Negotiate abc==' } })
  t.equal((await errorOf(clientOf(t, [server], { credentials }).upstream.statManifest('a', ref('1'), never()))).kind, 'unauthorized')
})
