// The attacks: a registry that is not honest sends this process to addresses that only it can reach (a metadata service, its own loopback), makes it give its
// credentials to another host, or moves it from https to http.
import { lookup as systemLookup } from 'node:dns'
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { startProxy } from '../../support/upstream-proxy.ts'
import { blobIn, clientOf, errorOf, never, read } from './ask.ts'

const credentials = { username: 'user', password: 'secret' }

test('upstream redirect: a blob on another host is read without our Authorization', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Basic', ...credentials } })
  const storage = await startUpstream(t, { content: server.content })
  const { bytes, digest } = blobIn(server, 'a', 100_000)
  server.faults.redirect = storage.url
  const got = await read(clientOf(t, [server], { credentials }).upstream, 'a', digest, { first: 10 })
  t.ok(got.bytes.equals(bytes.subarray(10)))
  t.match(storage.requests, [{ authorization: undefined, range: 'bytes=10-' }])
  t.notOk('authorization' in (storage.requests[0]?.headers ?? {}))
})

test('upstream redirect: on the same origin our Authorization stays', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Basic', ...credentials } })
  const { bytes, digest } = blobIn(server, 'a', 1000)
  server.content.blobs.set('moved', new Map([[digest, bytes]]))
  server.faults.redirect = path => {
    server.faults.redirect = undefined
    return path.replace('/v2/a/', '/v2/moved/')
  }
  t.ok((await read(clientOf(t, [server], { credentials }).upstream, 'a', digest)).bytes.equals(bytes))
  t.match(server.requests.at(-1), { path: /moved/, authorization: /^Basic/ })
})

test('upstream redirect: a broken body asks the registry again, not the old target', async t => {
  const server = await startUpstream(t)
  const storage = await startUpstream(t, { content: server.content })
  const { bytes, digest } = blobIn(server, 'a', 1_000_000)
  server.faults.redirect = path => `${storage.url}${path}?signature=${server.requests.length}`
  storage.faults.cutAt = [500_000]
  t.ok((await read(clientOf(t, [server]).upstream, 'a', digest)).bytes.equals(bytes))
  t.strictSame(
    storage.requests.map(each => each.query),
    ['signature=1', 'signature=2']
  )
})

test('upstream redirect: a circle ends after five', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = server.url
  t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest)), { kind: 'refused', code: 'REDIRECT' })
  t.equal(server.requests.length, 6)
})

for (const location of ['file:///etc/passwd', 'http://', 'http://user:secret@127.0.0.1/', 'gopher://127.0.0.1/']) {
  test(`upstream redirect: ${location} is not followed`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = () => location
    const error = await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))
    t.match(error, { kind: 'refused', code: 'REDIRECT' })
    t.notMatch(error.message, /secret/)
  })
}

test('upstream redirect: without a Location it is refused', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 302 }]
  t.equal((await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))).kind, 'refused')
})

for (const host of [
  '169.254.169.254',
  '[fd00:ec2::254]',
  '100.100.100.200',
  '[::ffff:a9fe:a9fe]',
  'metadata.google.internal',
  '169.254.7.7',
  '0.0.0.0'
]) {
  test(`upstream redirect: ${host} is not followed from loopback either`, async t => {
    const server = await startUpstream(t)
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = () => `http://${host}/latest/meta-data`
    t.match(await errorOf(read(clientOf(t, [server]).upstream, 'a', digest)), { kind: 'refused', code: 'ADDRESS' })
  })
}

for (const host of ['127.0.0.1', '127.1.2.3', '[::1]', '[::ffff:127.0.0.1]', 'localhost', '2130706433', '0x7f.1']) {
  test(`upstream redirect: ${host} is not followed if the upstream is elsewhere`, async t => {
    const server = await startUpstream(t)
    const proxy = await startProxy(t, { all: server.url })
    const target = await startUpstream(t, { content: server.content })
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = path => `http://${host}:${new URL(target.url).port}${path}`
    const settings = { redirectHosts: [], proxy: { http: proxy.url, none: '*.storage.example' } }
    const { upstream } = clientOf(t, [{ url: 'http://registry.example' }], settings)
    t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'refused', code: 'ADDRESS' })
    t.strictSame([server.requests.length, target.requests.length], [1, 0])
  })
}

test('upstream redirect: a name that resolves to loopback is not connected to, if the upstream is elsewhere', async t => {
  const server = await startUpstream(t)
  const proxy = await startProxy(t, { all: server.url })
  const target = await startUpstream(t, { content: server.content })
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = path => `http://evil.storage.example:${new URL(target.url).port}${path}`
  const { upstream } = clientOf(t, [{ url: 'http://registry.example' }], {
    proxy: { http: proxy.url, none: 'storage.example' },
    hooks: { lookup: (_name, options, callback) => systemLookup('127.0.0.1', options, callback) }
  })
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'refused', code: 'ADDRESS' })
  t.equal(target.requests.length, 0)
})

test('upstream redirect: a store that refuses is broken, not a right that we lack', async t => {
  const server = await startUpstream(t)
  const storage = await startUpstream(t, { content: server.content })
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = path => `${storage.url}${path}?signature=secret`
  storage.faults.statuses = [{ status: 403 }]
  const error = await errorOf(read(clientOf(t, [server]).upstream, 'a', digest))
  t.match(error, { kind: 'broken', status: 403 })
  t.match(error.message, new URL(storage.url).host)
  t.notMatch(error.message, /secret/)
})

test('upstream redirect: a HEAD that the store refuses becomes a GET', async t => {
  const server = await startUpstream(t)
  const storage = await startUpstream(t, { content: server.content })
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = storage.url
  storage.faults.headStatus = 403
  t.strictSame(await clientOf(t, [server]).upstream.checkBlob('a', digest, never()), { size: 1000 })
})
