import { test } from 'tap'
import { certificate } from '../../support/certificate.ts'
import { startUpstream } from '../../support/upstream.ts'
import { startProxy } from '../../support/upstream-proxy.ts'
import { until } from '../support.ts'
import { blobIn, clientOf, errorOf, limits, never, read, ref } from './ask.ts'

test('upstream TLS: a certificate of the CA in the settings is trusted', async t => {
  const tls = certificate(t)
  const server = await startUpstream(t, { tls })
  const { bytes, digest } = blobIn(server, 'a', 1000)
  t.ok((await read(clientOf(t, [server], { ca: tls.cert }).upstream, 'a', digest)).bytes.equals(bytes))
})

test('upstream TLS: any other certificate is not, and the error says so at once', async t => {
  const server = await startUpstream(t, { tls: certificate(t) })
  const { upstream, events } = clientOf(t, [server])
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'unreachable', code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  t.equal(events.length, 1)
  t.equal(server.requests.length, 0)
})

test('upstream redirect: from https to http is refused', async t => {
  const tls = certificate(t)
  const server = await startUpstream(t, { tls })
  const plain = await startUpstream(t, { content: server.content })
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = plain.url
  t.match(await errorOf(read(clientOf(t, [server], { ca: tls.cert }).upstream, 'a', digest)), { kind: 'refused', code: 'REDIRECT' })
  t.equal(plain.requests.length, 0)
})

test('upstream proxy: http goes through the proxy of its scheme, with its credentials', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  const proxy = await startProxy(t)
  const http = proxy.url.replace('://', '://user:secret@')
  t.ok((await read(clientOf(t, [server], { proxy: { http, https: 'http://127.0.0.1:1' } }).upstream, 'a', digest)).bytes.equals(bytes))
  t.strictSame(proxy.asked, [`GET ${server.url}/v2/a/blobs/${digest}`])
  t.match(proxy.authorizations, [/^Basic /])
})

test('upstream proxy: https goes through a tunnel, and the far certificate is verified', async t => {
  const tls = certificate(t)
  const server = await startUpstream(t, { tls })
  const { bytes, digest } = blobIn(server, 'a', 1000)
  const proxy = await startProxy(t, { all: server.url })
  const endpoints = [{ url: 'https://registry.example' }]
  t.ok((await read(clientOf(t, endpoints, { ca: tls.cert, proxy: { https: proxy.url } }).upstream, 'a', digest)).bytes.equals(bytes))
  t.strictSame(proxy.asked, ['CONNECT registry.example:443'])
  const other = clientOf(t, endpoints, { proxy: { https: proxy.url } }).upstream
  t.match(await errorOf(read(other, 'a', digest)), { kind: 'unreachable', code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
})

test('upstream proxy: hosts of NO_PROXY are asked directly', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 1000)
  const { upstream } = clientOf(t, [server], { proxy: { http: 'http://127.0.0.1:1', none: 'example.com, 127.0.0.0/8' } })
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
})

test('upstream proxy: one that is down is unreachable', async t => {
  const server = await startUpstream(t)
  const { upstream } = clientOf(t, [server], { proxy: { http: 'http://127.0.0.1:1' } })
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'unreachable', code: 'ECONNREFUSED' })
})

test('upstream DNS: a name that does not exist is an error of its own, and not retried', async t => {
  let lookups = 0
  const { upstream } = clientOf(t, [{ url: 'http://registry.invalid' }], {
    hooks: {
      lookup: (_name, _options, callback) => {
        lookups++
        callback(Object.assign(new Error('getaddrinfo ENOTFOUND registry.invalid'), { code: 'ENOTFOUND' }), '')
      }
    }
  })
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'unreachable', code: 'ENOTFOUND' })
  t.equal(lookups, 1)
})

test('upstream connect: a host that does not answer is a timeout', async t => {
  // Nothing calls back, as a host behind a firewall that drops everything; and nothing else keeps the process alive.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  const { upstream } = clientOf(t, [{ url: 'http://registry.example' }], {
    limits: { ...limits, connectTimeout: 100 },
    hooks: { lookup: () => {} }
  })
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'timeout', code: 'UND_ERR_CONNECT_TIMEOUT' })
})

test('upstream start: nothing is asked before it is needed', async t => {
  const { upstream, events } = clientOf(t, [{ url: 'http://127.0.0.1:1' }])
  t.match(upstream.health(), [{ url: 'http://127.0.0.1:1', healthy: true }])
  await upstream.close()
  t.strictSame(events, [])
})

test('upstream connections: manifests, lists and HEADs do not wait for blobs that take all connections of blobs', async t => {
  const server = await startUpstream(t)
  const { upstream } = clientOf(t, [server])
  const { digest } = server.addImage('a', '1')
  const held = Promise.withResolvers<void>()
  server.faults.hold = { at: 1, until: held.promise }
  const blobs = Array.from({ length: limits.connections + 4 }, () => blobIn(server, 'a', 1000))
  const slow = blobs.map(each => read(upstream, 'a', each.digest))
  await until(() => server.count('GET /v2/a/blobs/') === limits.connections)
  t.equal((await upstream.statManifest('a', ref('1'), never())).value.digest, digest)
  t.strictSame((await upstream.listTags('a', {}, never())).value.items, ['1'])
  const [first] = blobs
  if (first) t.equal((await upstream.checkBlob('a', first.digest, never())).size, 1000)
  t.equal(server.count('GET /v2/a/blobs/'), limits.connections, 'the others wait')
  held.resolve()
  t.ok((await Promise.all(slow)).every(({ bytes }, index) => bytes.equals(blobs[index]?.bytes ?? Buffer.alloc(0))))
})
