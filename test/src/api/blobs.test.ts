import { type Test, test } from 'tap'
import { ask, bytesOf, codeOf, digestOf, pushBlob, pushImage, serve } from '../support.ts'
import { Wire } from './wire.ts'

const bytes = bytesOf(100_000)

async function setUp(t: Test) {
  const served = await serve(t)
  return { served, digest: await pushBlob(served, 'a', bytes) }
}

test('end-2 GET: a blob comes with its digest, length, entity tag and no parameters on its type', async t => {
  const { served, digest } = await setUp(t)
  const { status, headers, body } = await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)
  t.equal(status, 200)
  t.match(headers, {
    'docker-content-digest': digest,
    'content-length': '100000',
    'content-type': 'application/octet-stream',
    etag: `"${digest}"`,
    'accept-ranges': 'bytes'
  })
  t.equal(digestOf(body), digest)
})

test('end-2 HEAD: the head of GET, and not one byte of a body', async t => {
  const { served, digest } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`HEAD /v2/a/blobs/${digest}`)
  const { status, headers } = await wire.answer('head')
  t.equal(status, 200)
  t.match(headers, { 'docker-content-digest': digest, 'content-length': '100000' })
  wire.head('GET /v2/')
  t.equal((await wire.answer()).status, 200, 'what comes next is the next answer')
  t.equal(wire.waiting.length, 0)
})

test('end-2 HEAD: If-None-Match answers 304', async t => {
  const { served, digest } = await setUp(t)
  const headers = { 'if-none-match': `"${digest}"` }
  t.equal((await ask(served.listen, 'HEAD', `/v2/a/blobs/${digest}`, { headers })).status, 304)
})

test('end-2 HEAD: an unknown blob is a 404 without a body', async t => {
  const { served } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`HEAD /v2/a/blobs/${digestOf('none')}`)
  t.equal((await wire.answer('head')).status, 404)
  wire.head('GET /v2/')
  t.equal((await wire.answer()).status, 200)
})

test('end-2 GET: a blob of another repository is not readable without a link', async t => {
  const { served, digest } = await setUp(t)
  const answer = await ask(served.listen, 'GET', `/v2/b/blobs/${digest}`)
  t.strictSame([answer.status, codeOf(answer)], [404, 'BLOB_UNKNOWN'])
})

test('end-2 GET: a blob pushed by sha512 is served by it', async t => {
  const { served } = await setUp(t)
  const digest = digestOf(bytes, 'sha512')
  const { status } = await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes })
  t.equal(status, 201)
  const { headers, body } = await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)
  t.equal(headers['docker-content-digest'], digest)
  t.ok(body.equals(bytes))
})

test('end-10 DELETE: a blob is gone at once, and stays where another repository has it', async t => {
  const { served, digest } = await setUp(t)
  await pushBlob(served, 'b', bytes)
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/blobs/${digest}`)).status, 202)
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
  t.equal((await ask(served.listen, 'GET', `/v2/b/blobs/${digest}`)).status, 200)
})

test('end-10 DELETE: an unknown blob is a 404', async t => {
  const { served } = await setUp(t)
  const answer = await ask(served.listen, 'DELETE', `/v2/a/blobs/${digestOf('none')}`)
  t.strictSame([answer.status, codeOf(answer)], [404, 'BLOB_UNKNOWN'])
})

for (const encoding of ['gzip', 'zstd;q=1.0, gzip;q=0.8, deflate;q=0.5', 'br', 'identity;q=0, *']) {
  test(`no Content-Encoding for Accept-Encoding: ${encoding}`, async t => {
    const { served, digest } = await setUp(t)
    const { digest: manifest } = await pushImage(served, 'a', 'v1')
    const headers = { 'accept-encoding': encoding }
    for (const path of [`/v2/a/blobs/${digest}`, `/v2/a/manifests/${manifest}`, '/v2/a/tags/list', '/v2/_catalog']) {
      const { status, headers: answered } = await ask(served.listen, 'GET', path, { headers })
      t.equal(status, 200, path)
      t.notOk('content-encoding' in answered, path)
    }
  })
}

test('two pipelined requests are answered in order, each whole', async t => {
  const { served, digest } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.socket.write(
    `GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: r\r\n\r\nHEAD /v2/ HTTP/1.1\r\nHost: r\r\n\r\nGET /v2/a/tags/list HTTP/1.1\r\nHost: r\r\n\r\n`
  )
  t.ok((await wire.answer()).body.equals(bytes))
  t.equal((await wire.answer('head')).status, 200)
  t.strictSame(JSON.parse((await wire.answer()).body.toString()), { name: 'a', tags: [] })
})

test('a request in absolute form is the same request', async t => {
  const { served, digest } = await setUp(t)
  t.equal((await ask(served.listen, 'HEAD', `http://registry.test:5001/v2/a/blobs/${digest}`)).status, 200)
})
