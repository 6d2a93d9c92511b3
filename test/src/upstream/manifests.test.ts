import { createHash, randomBytes } from 'node:crypto'
import { test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import type { UpstreamManifest } from '../../../src/upstream/upstream.ts'
import { indexType, manifestType, startUpstream } from '../../support/upstream.ts'
import { clientOf, errorOf, never, ref, served } from './ask.ts'

test('upstream manifest: by tag and by digest the bytes are as they were sent', async t => {
  const server = await startUpstream(t)
  const { digest, manifest, size } = server.addImage('a/b', 'v1')
  const { upstream } = clientOf(t, [server])
  for (const reference of ['v1', digest]) {
    const got = (await upstream.fetchManifest('a/b', ref(reference), { signal: never() })) as UpstreamManifest
    t.equal(got.bytes.toString(), manifest)
    t.strictSame(got.descriptor, { mediaType: manifestType, digest, size })
    t.equal(got.etag, `"${digest}"`)
  }
  t.strictSame(
    server.requests.map(each => each.method),
    ['GET', 'GET']
  )
})

test('upstream manifest: all types are accepted', async t => {
  const server = await startUpstream(t)
  server.addImage('a', '1')
  await clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() })
  const accept = server.requests[0]?.headers.accept ?? ''
  for (const type of [manifestType, indexType, 'manifest.v2+json', 'manifest.list.v2+json', '*/*']) t.match(accept, type)
})

test('upstream manifest: If-None-Match is passed on, and a 304 is not-modified', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  const { upstream } = clientOf(t, [server])
  t.equal(await upstream.fetchManifest('a', ref('1'), { ifNoneMatch: `"${digest}"`, signal: never() }), 'not-modified')
  t.match(await upstream.fetchManifest('a', ref('1'), { ifNoneMatch: '"other"', signal: never() }), { descriptor: { digest } })
})

test('upstream manifest: a 304 to nothing is invalid', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 304 }]
  t.equal((await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }))).kind, 'invalid')
})

for (const by of ['tag', 'digest']) {
  test(`upstream manifest: bytes with another digest are never given (by ${by}), and another endpoint is asked`, async t => {
    const bad = await startUpstream(t)
    const { digest, manifest } = bad.addImage('a', '1')
    bad.faults.wrongByte = 0
    const reference = by === 'tag' ? '1' : digest
    t.match(await errorOf(clientOf(t, [bad]).upstream.fetchManifest('a', ref(reference), { signal: never() })), {
      kind: 'broken',
      code: 'DIGEST'
    })
    t.equal(bad.requests.length, 1)
    const good = await startUpstream(t, { content: bad.content })
    const got = (await clientOf(t, [bad, good]).upstream.fetchManifest('a', ref(reference), { signal: never() })) as UpstreamManifest
    t.equal(got.bytes.toString(), manifest)
  })
}

test('upstream manifest: without a Docker-Content-Digest a tag is what its bytes are', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  server.faults.noDigest = true
  t.match(await clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }), { descriptor: { digest } })
})

test('upstream manifest: by a sha512 digest it is verified as that', async t => {
  const server = await startUpstream(t)
  const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}')
  const digest = parseDigest(`sha512:${createHash('sha512').update(bytes).digest('hex')}`)
  server.content.manifests.set('a', new Map([[digest, { bytes, mediaType: indexType }]]))
  t.match(await clientOf(t, [server]).upstream.fetchManifest('a', ref(digest), { signal: never() }), {
    descriptor: { digest, mediaType: indexType }
  })
})

for (const [title, headers, body] of [
  ['a login page', { 'content-type': 'text/html' }, '<html>'],
  ['no JSON', { 'content-type': manifestType }, '{"schemaVersion":2'],
  ['a JSON list', { 'content-type': manifestType }, '[]'],
  ['nothing', { 'content-type': manifestType }, ''],
  ['a digest that is none', { 'content-type': manifestType, 'docker-content-digest': 'sha256:abc' }, '{}']
] as const) {
  test(`upstream manifest: ${title} under a tag is invalid`, async t => {
    const server = await startUpstream(t)
    server.faults.statuses = [{ status: 200, headers, body }]
    t.equal((await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }))).kind, 'invalid')
  })
}

test('upstream manifest: more bytes than the limit are not read, with a length and without', async t => {
  const server = await startUpstream(t)
  const { size } = server.addImage('a', '1')
  const { upstream } = clientOf(t, [server])
  t.match(await upstream.fetchManifest('a', ref('1'), { limit: size, signal: never() }), { descriptor: { size } })
  const error = await errorOf(upstream.fetchManifest('a', ref('1'), { limit: size - 1, signal: never() }))
  t.match(error, { kind: 'invalid', code: 'SIZE' })
  server.faults.noLength = true
  t.match(await errorOf(upstream.fetchManifest('a', ref('1'), { limit: size - 1, signal: never() })), { kind: 'invalid', code: 'SIZE' })
})

test('upstream manifest: 4 MiB are the limit where none is named', async t => {
  const server = await startUpstream(t)
  const padding = randomBytes(3 * 1024 * 1024).toString('base64')
  const manifest = `{"schemaVersion":2,"config":{},"padding":"${padding}"}`
  server.addManifest('a', manifest, { tag: '1' })
  const { upstream } = clientOf(t, [server])
  t.match(await errorOf(upstream.fetchManifest('a', ref('1'), { signal: never() })), { kind: 'invalid', code: 'SIZE' })
  t.match(await upstream.fetchManifest('a', ref('1'), { limit: 8 * 1024 * 1024, signal: never() }), {
    descriptor: { size: manifest.length }
  })
})

for (const type of ['application/json', 'text/plain; charset=utf-8', 'application/octet-stream', undefined]) {
  test(`upstream manifest: served as ${type} its own media type counts`, async t => {
    const server = await startUpstream(t)
    const body = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [] })
    server.faults.statuses = [{ status: 200, body, headers: type === undefined ? {} : { 'content-type': type } }]
    t.match(await clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }), {
      descriptor: { mediaType: indexType }
    })
  })
}

test('upstream manifest: parameters of its Content-Type are left out', async t => {
  const server = await startUpstream(t)
  const body = '{"schemaVersion":2,"config":{}}'
  server.faults.statuses = [{ status: 200, body, headers: { 'content-type': `${manifestType}; charset=utf-8` } }]
  t.match(await clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), { signal: never() }), {
    descriptor: { mediaType: manifestType }
  })
})

test('upstream manifest: not found carries the code of the registry', async t => {
  const server = await startUpstream(t)
  const error = await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('none'), { signal: never() }))
  t.match(error, { kind: 'not-found', status: 404, code: 'MANIFEST_UNKNOWN', endpoint: new URL(server.url).host })
  t.equal(error.message, `${error.endpoint}: GET /v2/a/manifests/none answered 404 MANIFEST_UNKNOWN`)
})

test('upstream stat of a manifest: one HEAD is enough if it says all', async t => {
  const server = await startUpstream(t)
  const { digest, size } = server.addImage('a', '1')
  const { upstream } = clientOf(t, [server])
  t.strictSame(await served(upstream.statManifest('a', ref('1'), never())), { mediaType: manifestType, digest, size })
  await served(upstream.statManifest('a', ref(digest), never()))
  t.strictSame(
    server.requests.map(each => each.method),
    ['HEAD', 'HEAD']
  )
})

for (const [title, faults] of [
  ['no length', { noLength: true }],
  ['no digest', { noDigest: true }],
  ['401', { headStatus: 401 }],
  ['403', { headStatus: 403 }],
  ['405', { headStatus: 405 }]
] as const) {
  test(`upstream stat of a manifest: a HEAD with ${title} becomes a GET`, async t => {
    const server = await startUpstream(t)
    const { digest, size } = server.addImage('a', '1')
    Object.assign(server.faults, faults)
    t.strictSame(await served(clientOf(t, [server]).upstream.statManifest('a', ref('1'), never())), {
      mediaType: manifestType,
      digest,
      size
    })
    t.strictSame(
      server.requests.map(each => each.method),
      ['HEAD', 'GET']
    )
  })
}

test('upstream stat of a manifest: by digest the digest need not be said', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  server.faults.noDigest = true
  t.match(await served(clientOf(t, [server]).upstream.statManifest('a', ref(digest), never())), { digest })
  t.equal(server.requests.length, 1)
})

test('upstream stat of a manifest: an answer about another digest is broken', async t => {
  const server = await startUpstream(t)
  const [one, two] = [server.addImage('a', '1'), server.addImage('a', '2')]
  const headers = { 'content-type': manifestType, 'content-length': '100', 'docker-content-digest': one.digest }
  server.faults.statuses = [{ status: 200, headers, when: each => each.method === 'HEAD' }]
  t.match(await errorOf(clientOf(t, [server]).upstream.statManifest('a', ref(two.digest), never())), { kind: 'broken', code: 'DIGEST' })
})
