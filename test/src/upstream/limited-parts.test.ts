// The report: one 429, of the token service or for one repository, closed the whole upstream for up to an hour, to repositories whose tokens
// were still good as well. A registry limits an account, a repository or its token service; only what it refused is asked later.
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, never, read, ref, served } from './ask.ts'

const retryAfter = { 'retry-after': '60' }

test('upstream limit: a 429 for one repository leaves the others open, and that for manifests the blobs', async t => {
  const server = await startUpstream(t)
  server.addImage('a', '1')
  server.addImage('b', '1')
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 429, headers: retryAfter, when: each => each.path.startsWith('/v2/a/manifests/') }]
  const { upstream, events } = clientOf(t, [server])
  const stat = (name: string) => upstream.statManifest(name, ref('1'), never())
  t.match(await errorOf(stat('a')), { kind: 'limited', status: 429 })
  t.match(await errorOf(stat('a')), { kind: 'limited', status: undefined })
  t.equal(server.requests.length, 1, 'the limit holds')
  await served(stat('b'))
  await read(upstream, 'a', digest)
  t.match(
    events.filter(each => each.type === 'breaker'),
    [{ resource: 'manifest', scope: 'repository:a:pull' }]
  )
})

test('upstream limit: the probe of one repository does not hold back another', async t => {
  let now = 1_000_000
  const server = await startUpstream(t)
  const [a, b] = [blobIn(server, 'a', 1000), blobIn(server, 'b', 1000)]
  server.faults.statuses = [{ status: 429, times: 2, headers: retryAfter }]
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  await Promise.all([errorOf(read(upstream, 'a', a.digest)), errorOf(read(upstream, 'b', b.digest))])
  now += 60_000
  await Promise.all([read(upstream, 'a', a.digest), read(upstream, 'b', b.digest)])
  t.equal(server.requests.length, 4)
})

test('upstream limit: no more than the last thousand limits are remembered', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 429, headers: retryAfter }]
  const { upstream } = clientOf(t, [server])
  const stat = (number: number) => errorOf(upstream.statManifest(`a${number}`, ref('1'), never()))
  for (let number = 0; number <= 1_000; number++) await stat(number)
  await stat(1_000)
  t.equal(server.requests.length, 1_001, 'the last is remembered')
  await stat(0)
  t.equal(server.requests.length, 1_002, 'the first is not')
})

test('upstream limit: a 429 of the token service for one repository leaves good tokens in use, and is asked again when it says', async t => {
  let now = 1_000_000
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 100 } })
  for (const name of ['a', 'b']) server.addImage(name, '1')
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  const stat = (name: string) => upstream.statManifest(name, ref('1'), never())
  await served(stat('a'))
  server.desk.auth = { scheme: 'Bearer', expiresIn: 100, tokenStatus: 429, tokenRetryAfter: 60 }
  t.match(await errorOf(stat('b')), { kind: 'limited', status: 429, code: 'TOKEN', retryAfter: 60_000 })
  t.match(upstream.health(), [{ healthy: false, lastError: { message: /token/ } }])
  await served(stat('a'))
  now += 59_000
  t.match(await errorOf(stat('b')), { kind: 'limited', code: 'TOKEN', retryAfter: 1_000 })
  t.equal(server.tokenRequests.length, 2, 'the limit holds')
  server.desk.auth = { scheme: 'Bearer', expiresIn: 100 }
  now += 1_000
  await served(stat('b'))
})

test('upstream limit: a token that is good is used while its renewal fails, and the token service is not asked each time', async t => {
  let now = 1_000_000
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', expiresIn: 100 } })
  server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { hooks: { now: () => now } })
  const stat = () => upstream.statManifest('a', ref('1'), never())
  await served(stat())
  now += 80_000
  server.desk.auth = { scheme: 'Bearer', tokenStatus: 429, tokenRetryAfter: 3600 }
  for (let count = 0; count < 5; count++) await served(stat())
  t.equal(server.tokenRequests.length, 2)
  server.desk.auth = { scheme: 'Bearer', tokenStatus: 503 }
  now += 20_000
  t.match(await errorOf(stat()), { kind: 'limited', code: 'TOKEN' }, 'not after it has expired')
})
