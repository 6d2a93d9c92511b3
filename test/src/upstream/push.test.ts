import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Test, test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import { parseName, parseReference, parseTag } from '../../../src/oci/name.ts'
import { UploadOffsetError } from '../../../src/oci/sink.ts'
import { UpstreamError } from '../../../src/upstream/upstream.ts'
import { startPushProxy } from '../../support/push-proxy.ts'
import { ask, bytesOf, dataPath, digestOf, imageOf, imageType, serve } from '../support.ts'
import { clientOf, errorOf, never } from './ask.ts'

const name = parseName('some/app')
const other = parseName('other/app')
const signal = never()
const mebibyte = 1024 * 1024

/** A registry in Local mode, a proxy before it, and a sink that pushes through both. */
async function pushing(t: Test) {
  const served = await serve(t)
  const proxy = await startPushProxy(t, served.listen)
  const { upstream, events } = clientOf(t, [proxy])
  const get = (path: string) => ask(served.listen, 'GET', `/v2/${path}`)
  return { served, proxy, upstream, sink: upstream.sink, events, get }
}

async function* pieces(bytes: Buffer, size = 65_536): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

function blob(length: number) {
  const bytes = bytesOf(length)
  return { bytes, digest: parseDigest(digestOf(bytes)) }
}

test('push: a blob is sent by POST and PUT, and lies in the registry', async t => {
  const { sink, proxy, get } = await pushing(t)
  const { bytes, digest } = blob(3 * mebibyte)
  const upload = await sink.startUpload(name)
  const stored = await upload.finish(digest, { body: pieces(bytes), length: bytes.length, signal })
  t.match(stored, { digest, size: bytes.length })
  t.strictSame(proxy.methods(), ['POST', 'PUT'])
  t.equal(proxy.requests[1]?.headers['content-length'], String(bytes.length))
  t.ok((await get(`${name}/blobs/${digest}`)).body.equals(bytes))
  t.match(await errorOf(sink.resumeUpload(name, upload.id)), { kind: 'not-found' }, 'the session is over')
})

test('push: a blob in chunks, with and without a length, in order', async t => {
  const { sink, proxy, get } = await pushing(t)
  const { bytes, digest } = blob(300_000)
  const upload = await sink.startUpload(name)
  t.equal(await upload.append({ body: pieces(bytes.subarray(0, 100_000)), length: 100_000, signal }), 100_000)
  t.equal(await upload.append({ body: pieces(bytes.subarray(100_000, 250_000)), offset: 100_000, signal }), 250_000)
  await t.rejects(upload.append({ body: pieces(bytes), offset: 7, signal }), UploadOffsetError)
  await upload.finish(digest, { body: pieces(bytes.subarray(250_000)), length: 50_000, signal })
  t.strictSame(proxy.methods(), ['POST', 'PATCH', 'PATCH', 'PUT'])
  t.strictSame(
    proxy.requests.map(each => each.headers['content-range']),
    [undefined, '0-99999', undefined, '250000-299999']
  )
  t.ok((await get(`${name}/blobs/${digest}`)).body.equals(bytes))
})

test('push: a sha512 blob begins a session for that algorithm, and an empty blob is one', async t => {
  const { sink, get } = await pushing(t)
  const bytes = bytesOf(1000)
  const digest = parseDigest(digestOf(bytes, 'sha512'))
  await (await sink.startUpload(name, 'sha512')).finish(digest, { body: pieces(bytes), length: 1000, signal })
  t.ok((await get(`${name}/blobs/${digest}`)).body.equals(bytes))
  const empty = parseDigest(digestOf(''))
  t.match(await (await sink.startUpload(name)).finish(empty), { size: 0 })
  t.equal((await get(`${name}/blobs/${empty}`)).status, 200)
})

test('push: a connection that is cut in the middle of a PATCH loses nothing that arrived, and the rest follows', async t => {
  const { sink, proxy, get } = await pushing(t)
  const { bytes, digest } = blob(2 * mebibyte)
  proxy.faults.cutAt = [mebibyte + 12_345]
  const upload = await sink.startUpload(name)
  const error = await errorOf(upload.append({ body: pieces(bytes), length: bytes.length, signal }))
  t.match(error, { kind: 'broken' })
  await upload.refresh(signal)
  t.ok(upload.offset > 0 && upload.offset <= mebibyte + 12_345, `${upload.offset}`)
  const rest = bytes.subarray(upload.offset)
  await upload.finish(digest, { body: pieces(rest), offset: upload.offset, length: rest.length, signal })
  t.strictSame(proxy.methods(), ['POST', 'PATCH', 'GET', 'PUT'])
  t.ok((await get(`${name}/blobs/${digest}`)).body.equals(bytes))
})

test('push: a PATCH is not repeated by itself, nor is a POST', async t => {
  const { sink, proxy } = await pushing(t)
  proxy.faults.lost = { method: 'POST', times: 1 }
  t.match(await errorOf(sink.startUpload(name)), { kind: 'broken' })
  t.strictSame(proxy.methods(), ['POST'])
  const upload = await sink.startUpload(name)
  proxy.faults.lost = { method: 'PATCH', times: 1 }
  t.match(await errorOf(upload.append({ body: pieces(bytesOf(10)), length: 10, signal })), { kind: 'broken' })
  t.strictSame(proxy.methods(), ['POST', 'POST', 'PATCH'])
  await upload.refresh()
  t.equal(upload.offset, 10, 'it had arrived')
})

test('push: where the answer to the last PUT is lost, the blob that is there counts', async t => {
  const { sink, proxy, get } = await pushing(t)
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  proxy.faults.lost = { method: 'PUT', times: 1 }
  t.match(await upload.finish(digest, { body: pieces(bytes), length: 1000, signal }), { digest, size: 1000 })
  t.strictSame(proxy.methods(), ['POST', 'PUT', 'HEAD'])
  t.equal((await get(`${name}/blobs/${digest}`)).status, 200)
})

test('push: a 401 is answered with a token for pull and push, which serves the whole session', async t => {
  const { sink, proxy } = await pushing(t)
  const given: string[] = []
  proxy.faults.token = { given }
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  await upload.append({ body: pieces(bytes), length: 1000, signal })
  await upload.finish(digest)
  t.strictSame(given, ['repository:some/app:pull,push'])
  t.strictSame(proxy.methods(), ['POST', 'POST', 'PATCH', 'PUT'])
  await sink.mountBlob(other, digest, name)
  t.strictSame(given.slice(1), ['repository:other/app:pull,push repository:some/app:pull'])
})

test('push: a 401 in the middle of a session renews the token, and the stream is not sent twice', async t => {
  const { sink, proxy } = await pushing(t)
  const given: string[] = []
  proxy.faults.token = { given }
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  const challenge = `Bearer realm="${proxy.url}/token",service="test",error="invalid_token"`
  proxy.faults.status = { status: 401, times: 1, when: each => each.method === 'PATCH', headers: { 'www-authenticate': challenge } }
  t.match(await errorOf(upload.append({ body: pieces(bytes), length: 1000, signal })), { kind: 'unauthorized' })
  await upload.refresh()
  t.equal(upload.offset, 0)
  await upload.append({ body: pieces(bytes), length: 1000, signal })
  await upload.finish(digest)
  t.equal(given.length, 2)
})

test('push: a 401 to a stream that a new token would mend says so', async t => {
  const { sink, proxy } = await pushing(t)
  const { bytes, digest } = blob(1000)
  proxy.faults.token = { given: [] }
  const upload = await sink.startUpload(name)
  proxy.faults.token.value = 'another'
  const error = await errorOf(upload.finish(digest, { body: pieces(bytes), length: 1000, signal }))
  t.match(error, { kind: 'unauthorized', code: 'TOKEN_RENEWED', retryableAfterMs: 0 })
  await upload.finish(digest, { body: pieces(bytes), length: 1000, signal })
})

test('push: a 416 says where the session stands', async t => {
  const { sink, proxy } = await pushing(t)
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  await upload.append({ body: pieces(bytes.subarray(0, 400)), length: 400, signal })
  // Another one has gone on with the session.
  const path = proxy.requests[1]?.path ?? ''
  await fetch(proxy.url + path, { method: 'PATCH', body: new Uint8Array(bytes.subarray(400, 500)) })
  await t.rejects(upload.append({ body: pieces(bytes.subarray(400)), length: 600, signal }), { name: 'UploadOffsetError', offset: 500 })
  await upload.finish(digest, { body: pieces(bytes.subarray(500)), length: 500, signal })
})

test('push: `0-0` is taken for an empty session, and for a single byte once the registry insists', async t => {
  const { sink, proxy } = await pushing(t)
  proxy.faults.rewrite = headers => void delete headers['upload-offset']
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  await upload.refresh()
  t.equal(upload.offset, 0)
  await fetch(proxy.url + proxy.requests[1]?.path, { method: 'PATCH', body: new Uint8Array(bytes.subarray(0, 1)) })
  await t.rejects(upload.append({ body: pieces(bytes), length: 1000, signal }), { name: 'UploadOffsetError', offset: 1 })
  await upload.finish(digest, { body: pieces(bytes.subarray(1)), length: 999, signal })
})

test('push: bytes of another digest are refused, nothing is stored, and the endpoint stays healthy', async t => {
  const { served, sink, upstream, get } = await pushing(t)
  const { digest } = blob(1000)
  const upload = await sink.startUpload(name)
  const error = await errorOf(upload.finish(digest, { body: pieces(bytesOf(1000)), length: 1000, signal }))
  t.match(error, { kind: 'invalid', code: 'DIGEST_INVALID', status: 400 })
  t.equal((await get(`${name}/blobs/${digest}`)).status, 404)
  t.rejects(import('node:fs/promises').then(fs => fs.stat(dataPath(served.root, digest))))
  t.match(upstream.health(), [{ healthy: true }])
})

test('push: what the body throws is thrown, and is not held against the endpoint', async t => {
  const { sink, upstream } = await pushing(t)
  const upload = await sink.startUpload(name)
  const fault = new Error('the source failed')
  async function* failing(): AsyncGenerator<Buffer, void> {
    yield bytesOf(100)
    throw fault
  }
  await t.rejects(upload.append({ body: failing(), length: 1000, signal }), fault)
  t.match(upstream.health(), [{ healthy: true }])
  await upload.refresh()
  t.ok(upload.offset <= 100)
})

test('push: an error of another upstream in the body is not held against the endpoint', async t => {
  const { sink, upstream, events } = await pushing(t)
  const upload = await sink.startUpload(name)
  const fault = new UpstreamError('limited', 'the source is rate limited', { endpoint: 'a.example', retryAfter: 60_000 })
  async function* failing(): AsyncGenerator<Buffer, void> {
    yield bytesOf(100)
    throw fault
  }
  t.equal(await errorOf(upload.append({ body: failing(), length: 1000, signal })), fault)
  t.equal(await errorOf(upload.finish(blob(1).digest, { body: failing(), length: 1000, signal })), fault)
  t.match(upstream.health(), [{ healthy: true, lastError: undefined }])
  t.notOk(events.some(each => each.type === 'failure' || each.type === 'breaker'))
  await upload.refresh()
})

test('push: sessions that were abandoned are forgotten, the oldest first', async t => {
  let count = 0
  const registry = createServer((request, response) => {
    const status = request.method === 'POST' ? 202 : 204
    request.resume().on('end', () => response.writeHead(status, { location: `/v2/${name}/blobs/uploads/${++count}` }).end())
  })
  registry.listen(0, '127.0.0.1')
  await once(registry, 'listening')
  t.teardown(() => void registry.close())
  const { sink } = clientOf(t, [{ url: `http://127.0.0.1:${(registry.address() as AddressInfo).port}` }]).upstream
  const first = await sink.startUpload(name)
  t.equal(await sink.resumeUpload(name, first.id), first)
  const last = (await Promise.all(Array.from({ length: 1000 }, () => sink.startUpload(name)))).at(-1)
  t.equal(last && (await sink.resumeUpload(name, last.id)), last)
  t.match(await errorOf(sink.resumeUpload(name, first.id)), { kind: 'not-found' })
})

test('push: a signal ends an upload with its reason, and the session can be cancelled', async t => {
  const { sink, proxy, served } = await pushing(t)
  const left = new AbortController()
  const upload = await sink.startUpload(name)
  async function* endless(): AsyncGenerator<Buffer, void> {
    yield bytesOf(100)
    left.abort(new Error('left'))
    await new Promise(() => {})
  }
  await t.rejects(upload.append({ body: endless(), length: 1000, signal: left.signal }), { message: 'left' })
  await upload.cancel()
  t.ok(proxy.methods().includes('DELETE'))
  await upload.cancel()
  const path = proxy.requests.find(each => each.method === 'DELETE')?.path ?? ''
  t.equal((await ask(served.listen, 'GET', path)).status, 404)
})

test('push: a blob is mounted from another repository, and where that is refused nothing is left', async t => {
  const { sink, proxy, get } = await pushing(t)
  const { bytes, digest } = blob(1000)
  await (await sink.startUpload(name)).finish(digest, { body: pieces(bytes), length: 1000, signal })
  t.equal(await sink.mountBlob(other, digest, name), true)
  t.equal((await get(`${other}/blobs/${digest}`)).status, 200)
  const absent = blob(10).digest
  const before = proxy.requests.length
  t.equal(await sink.mountBlob(other, absent, name), false)
  t.strictSame(proxy.methods().slice(before), ['POST', 'DELETE'], 'the session of a 202 is ended')
  proxy.faults.status = { status: 403, times: 1, when: each => each.method === 'POST' }
  t.equal(await sink.mountBlob(other, absent, name), false)
})

test('push: a manifest with tags, by digest and by tag, also where the registry sets one tag a request', async t => {
  const { sink, proxy, get } = await pushing(t)
  const config = blob(32)
  await (await sink.startUpload(name)).finish(config.digest, { body: pieces(config.bytes), length: 32, signal })
  const bytes = Buffer.from(imageOf([config.bytes]))
  const digest = parseDigest(digestOf(bytes))
  const tags = ['v1', 'v2'].map(parseTag)
  const put = await sink.putManifest(name, { digest }, { mediaType: imageType, bytes }, tags)
  t.strictSame(put, { digest, tags: tags.map(tag => ({ tag })) })
  t.equal(proxy.requests.filter(each => each.path.includes('/manifests/')).length, 1, 'one request for all')
  for (const tag of tags) t.equal((await get(`${name}/manifests/${tag}`)).headers['docker-content-digest'], digest)
  proxy.faults.rewrite = headers => void delete headers['oci-tag']
  await sink.putManifest(name, { digest }, { bytes }, ['v3', 'v4'].map(parseTag))
  await sink.putManifest(name, parseReference('v5'), { bytes }, ['v6'].map(parseTag))
  for (const tag of ['v3', 'v4', 'v5', 'v6']) t.equal((await get(`${name}/manifests/${tag}`)).headers['docker-content-digest'], digest)
  const subject = { mediaType: imageType, digest, size: bytes.length }
  const referrer = Buffer.from(imageOf([config.bytes], { subject }))
  t.match(await sink.putManifest(name, { digest: parseDigest(digestOf(referrer)) }, { bytes: referrer }, []), { subject: digest })
})

test('push: a manifest whose blobs are missing is refused, and one whose answer was lost is put again', async t => {
  const { sink, proxy, get } = await pushing(t)
  const config = blob(32)
  const bytes = Buffer.from(imageOf([config.bytes]))
  const digest = parseDigest(digestOf(bytes))
  t.match(await errorOf(sink.putManifest(name, { digest }, { bytes }, [])), { kind: 'not-found', code: 'MANIFEST_BLOB_UNKNOWN' })
  await (await sink.startUpload(name)).finish(config.digest, { body: pieces(config.bytes), length: 32, signal })
  proxy.faults.lost = { method: 'PUT', times: 1 }
  t.match(await sink.putManifest(name, { digest }, { bytes }, []), { digest })
  t.equal((await get(`${name}/manifests/${digest}`)).status, 200)
})

test('push: manifests and blobs are deleted; a tag alone leaves the manifest', async t => {
  const { sink, get } = await pushing(t)
  const config = blob(32)
  await (await sink.startUpload(name)).finish(config.digest, { body: pieces(config.bytes), length: 32, signal })
  const bytes = Buffer.from(imageOf([config.bytes]))
  const digest = parseDigest(digestOf(bytes))
  const tag = parseTag('v1')
  await sink.putManifest(name, { digest }, { bytes }, [tag])
  t.strictSame(await sink.deleteManifest(name, { tag }), { digest, tags: [tag] })
  t.equal((await get(`${name}/manifests/${digest}`)).status, 200)
  t.strictSame(await sink.deleteManifest(name, { digest }), { digest, tags: [] })
  t.equal((await get(`${name}/manifests/${digest}`)).status, 404)
  await sink.deleteBlob(name, config.digest)
  t.equal((await get(`${name}/blobs/${config.digest}`)).status, 404)
  t.match(await errorOf(sink.deleteBlob(name, config.digest)), { kind: 'not-found' })
})

test('push: an absolute Location on the same host, with a query, is followed at the endpoint', async t => {
  const { sink, proxy, get } = await pushing(t)
  proxy.faults.rewrite = headers => {
    if (headers['location']?.includes('/uploads/')) headers['location'] = `https://127.0.0.1:1${headers['location']}?state=a%2Fb`
    headers['oci-chunk-min-length'] = '1234'
  }
  const { bytes, digest } = blob(1000)
  const upload = await sink.startUpload(name)
  t.equal(upload.minChunkBytes, 1234)
  await upload.append({ body: pieces(bytes), length: 1000, signal })
  await upload.finish(digest)
  const [, patch, put] = proxy.requests
  t.match(patch?.path, /\?state=a%2Fb$/)
  t.match(put?.path, /\?state=a%2Fb&digest=sha256%3A/)
  t.equal((await get(`${name}/blobs/${digest}`)).status, 200)
})

test('push: a Location whose path begins with two slashes is a path of the endpoint', async t => {
  const { sink, proxy } = await pushing(t)
  proxy.faults.rewrite = headers => {
    headers['location'] = `${proxy.url}/${headers['location']}`
  }
  const upload = await sink.startUpload(name)
  await errorOf(upload.refresh())
  t.match(proxy.requests[1], { method: 'GET', path: /^\/\/v2\// })
})

test('push: a Location on another host is asked without our credentials', async t => {
  const seen: { authorization: string | undefined; method: string | undefined }[] = []
  const elsewhere = createServer((request, response) => {
    seen.push({ authorization: request.headers.authorization, method: request.method })
    request.resume().on('end', () => response.writeHead(request.method === 'PUT' ? 201 : 202).end())
  })
  elsewhere.listen(0, '127.0.0.1')
  await once(elsewhere, 'listening')
  t.teardown(() => void elsewhere.close())
  const { sink, proxy } = await pushing(t)
  proxy.faults.token = { given: [] }
  const place = `http://localhost:${(elsewhere.address() as AddressInfo).port}/somewhere`
  proxy.faults.rewrite = headers => {
    headers['location'] = place
  }
  const { bytes, digest } = blob(10)
  const upload = await sink.startUpload(name)
  await upload.finish(digest, { body: pieces(bytes), length: 10, signal })
  t.strictSame(seen, [{ authorization: undefined, method: 'PUT' }])
})

test('push: another host cannot have a session go on at the endpoint, where it would get our credentials', async t => {
  const { sink, proxy } = await pushing(t)
  const elsewhere = createServer((request, response) => {
    const location = `${proxy.url}/v2/${other}/manifests/v1`
    request.resume().on('end', () => response.writeHead(request.method === 'GET' ? 204 : 202, { location }).end())
  })
  elsewhere.listen(0, '127.0.0.1')
  await once(elsewhere, 'listening')
  t.teardown(() => void elsewhere.close())
  proxy.faults.token = { given: [] }
  proxy.faults.rewrite = headers => {
    headers['location'] = `http://localhost:${(elsewhere.address() as AddressInfo).port}/somewhere`
  }
  const { bytes } = blob(10)
  const upload = await sink.startUpload(name)
  const before = proxy.requests.length
  const refused = { kind: 'refused', message: /localhost:\d+ named a Location on 127\.0\.0\.1/ }
  t.match(await errorOf(upload.append({ body: pieces(bytes), length: 10, signal })), refused)
  t.match(await errorOf(upload.refresh()), refused)
  await upload.cancel()
  t.equal(proxy.requests.length, before)
})

test('push: the end of an upload without a last chunk can be aborted', async t => {
  const { sink } = await pushing(t)
  const { bytes, digest } = blob(10)
  const upload = await sink.startUpload(name)
  await upload.append({ body: pieces(bytes), length: 10, signal })
  await t.rejects(upload.finish(digest, undefined, AbortSignal.abort(new Error('left'))), { message: 'left' })
  await upload.finish(digest)
})

test('push: another host gets no credentials either when it redirects to an endpoint that demands them', async t => {
  const seen: { authorization: string | undefined; method: string | undefined }[] = []
  const { sink, proxy } = await pushing(t)
  const elsewhere = createServer((request, response) => {
    seen.push({ authorization: request.headers.authorization, method: request.method })
    response.writeHead(307, { location: `${proxy.url}/v2/` }).end()
  })
  elsewhere.listen(0, '127.0.0.1')
  await once(elsewhere, 'listening')
  t.teardown(() => void elsewhere.close())
  proxy.faults.token = { given: [] }
  proxy.faults.rewrite = headers => {
    headers['location'] = `http://localhost:${(elsewhere.address() as AddressInfo).port}/somewhere`
  }
  const upload = await sink.startUpload(name)
  t.match(await errorOf(upload.refresh()), { kind: 'unauthorized' })
  t.strictSame(seen, [{ authorization: undefined, method: 'GET' }])
})

test('push: another endpoint begins a session only where the first was never reached', async t => {
  const served = await serve(t)
  const proxy = await startPushProxy(t, served.listen)
  const gone = createServer()
  gone.listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const closed = `http://127.0.0.1:${(gone.address() as AddressInfo).port}`
  await new Promise(resolve => gone.close(resolve))
  const { upstream } = clientOf(t, [{ url: closed }, proxy])
  const { bytes, digest } = blob(100)
  await (await upstream.sink.startUpload(name)).finish(digest, { body: pieces(bytes), length: 100, signal })
  t.match(upstream.health(), [{ healthy: false }, { healthy: true }])
  const reversed = clientOf(t, [proxy, { url: closed }]).upstream
  proxy.faults.status = { status: 500, times: 1, when: () => true }
  t.match(await errorOf(reversed.sink.startUpload(name)), { kind: 'broken', status: 500 })
  t.match(reversed.health(), [{ healthy: false }, { healthy: true }], 'the second was not asked')
})
