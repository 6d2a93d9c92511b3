import { type Test, test } from 'tap'
import {
  ask,
  bytesOf,
  codeOf,
  digestOf,
  imageOf,
  imageType,
  indexType,
  pushBlob,
  pushImage,
  putManifest,
  type Served,
  serve
} from '../support.ts'

async function setUp(t: Test) {
  const served = await serve(t)
  return { served, image: await pushImage(served, 'a', 'v1') }
}

const tags = async ({ listen }: Served, name = 'a'): Promise<string[]> =>
  JSON.parse((await ask(listen, 'GET', `/v2/${name}/tags/list`)).body.toString()).tags

const fields = ({ rawHeaders }: { rawHeaders: string[] }, name: string): string[] =>
  rawHeaders.filter((_each, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name)

test('end-7 PUT: 201 with a relative Location by digest and the digest', async t => {
  const { served, image } = await setUp(t)
  const { status, headers } = await putManifest(served, 'a', 'v2', image.manifest)
  t.equal(status, 201)
  t.equal(headers.location, `/v2/a/manifests/${image.digest}`)
  t.equal(headers['docker-content-digest'], image.digest)
})

test('end-7 PUT: parameters and case of Content-Type do not matter', async t => {
  const { served, image } = await setUp(t)
  const type = 'Application/VND.oci.image.manifest.v1+json; charset=utf-8'
  t.equal((await putManifest(served, 'a', 'v2', image.manifest, type)).status, 201)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v2')).headers['content-type'], imageType)
})

test('end-3 GET: the very bytes that were pushed, odd white space and key order included', async t => {
  const { served } = await setUp(t)
  const config = bytesOf(10)
  await pushBlob(served, 'a', config)
  const odd = ` {\n"layers":[ ],"unknown":{"b":1,"a":[null]},"schemaVersion":2,${imageOf([config]).slice(1).replace('"schemaVersion":2,', '')}\n\n`
  t.equal((await putManifest(served, 'a', 'odd', odd)).status, 201)
  const { headers, body } = await ask(served.listen, 'GET', '/v2/a/manifests/odd')
  t.equal(body.toString(), odd)
  t.match(headers, { 'docker-content-digest': digestOf(odd), 'content-type': imageType, etag: `"${digestOf(odd)}"` })
})

for (const accept of [
  undefined,
  '*/*',
  'application/vnd.docker.distribution.manifest.v2+json',
  'APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON',
  'text/html;q=0.1',
  'garbage'
]) {
  test(`end-3 GET: the same bytes and type for Accept: ${accept}`, async t => {
    const { served, image } = await setUp(t)
    const headers = accept === undefined ? {} : { accept }
    const answer = await ask(served.listen, 'GET', '/v2/a/manifests/v1', { headers })
    t.equal(answer.status, 200)
    t.equal(answer.headers['content-type'], imageType)
    t.equal(answer.body.toString(), image.manifest)
  })
}

test('end-3 HEAD: type, length and digest, and no body', async t => {
  const { served, image } = await setUp(t)
  const { status, headers, body } = await ask(served.listen, 'HEAD', '/v2/a/manifests/v1')
  t.equal(status, 200)
  t.match(headers, {
    'content-type': imageType,
    'content-length': String(image.manifest.length),
    'docker-content-digest': image.digest,
    etag: `"${image.digest}"`
  })
  t.equal(body.length, 0)
})

for (const method of ['GET', 'HEAD']) {
  test(`end-3 ${method}: If-None-Match with the digest answers 304`, async t => {
    const { served, image } = await setUp(t)
    const { status, headers } = await ask(served.listen, method, '/v2/a/manifests/v1', {
      headers: { 'if-none-match': `"${image.digest}"` }
    })
    t.equal(status, 304)
    t.notOk('content-length' in headers)
  })
  test(`end-3 ${method}: a tag that has moved answers 200 to the old If-None-Match`, async t => {
    const { served, image } = await setUp(t)
    const next = await pushImage(served, 'a', 'v1')
    const { status, headers } = await ask(served.listen, method, '/v2/a/manifests/v1', {
      headers: { 'if-none-match': `"${image.digest}"` }
    })
    t.strictSame([status, headers['docker-content-digest']], [200, next.digest])
  })
}

test('end-3 GET: an unknown repository is NAME_UNKNOWN, an unknown reference MANIFEST_UNKNOWN, both 404', async t => {
  const { served } = await setUp(t)
  const codes = await Promise.all(
    ['/v2/none/manifests/v1', '/v2/a/manifests/none', `/v2/a/manifests/${digestOf('none')}`].map(path => ask(served.listen, 'GET', path))
  )
  t.strictSame(
    codes.map(answer => [answer.status, codeOf(answer)]),
    [
      [404, 'NAME_UNKNOWN'],
      [404, 'MANIFEST_UNKNOWN'],
      [404, 'MANIFEST_UNKNOWN']
    ]
  )
})

test('end-7 PUT: by a sha512 digest, which is what the answer and the pull name', async t => {
  const { served, image } = await setUp(t)
  const digest = digestOf(image.manifest, 'sha512')
  const { status, headers } = await putManifest(served, 'a', digest, image.manifest)
  t.strictSame([status, headers['docker-content-digest']], [201, digest])
  const pulled = await ask(served.listen, 'GET', `/v2/a/manifests/${digest}`)
  t.strictSame([pulled.status, pulled.headers['docker-content-digest']], [200, digest])
})

test('end-7b PUT: ?tag= sets each tag and names it in an OCI-Tag field of its own', async t => {
  const { served, image } = await setUp(t)
  const wanted = Array.from({ length: 12 }, (_each, at) => `t${at + 10}`)
  const answer = await putManifest(served, 'a', `${image.digest}?${wanted.map(tag => `tag=${tag}`).join('&')}`, image.manifest)
  t.equal(answer.status, 201)
  t.strictSame(fields(answer, 'oci-tag'), wanted)
  t.strictSame(await tags(served), [...wanted, 'v1'])
})

test('end-7b PUT: more tags than are taken at once answer 414 and set none', async t => {
  const { served, image } = await setUp(t)
  const many = Array.from({ length: 101 }, (_each, at) => `tag=t${at}`).join('&')
  t.equal((await putManifest(served, 'a', `${image.digest}?${many}`, image.manifest)).status, 414)
  t.strictSame(await tags(served), ['v1'])
})

test('end-7b PUT: one tag of bad form answers 400 and sets none', async t => {
  const { served, image } = await setUp(t)
  const answer = await putManifest(served, 'a', `${image.digest}?tag=good&tag=..%2fbad`, image.manifest)
  t.strictSame([answer.status, codeOf(answer)], [400, 'MANIFEST_INVALID'])
  t.strictSame(await tags(served), ['v1'])
})

test('end-7 PUT: a subject that is not there is accepted, and named in OCI-Subject', async t => {
  const { served, image } = await setUp(t)
  const subject = { mediaType: imageType, digest: digestOf('later'), size: 5 }
  const manifest = JSON.stringify({ ...JSON.parse(image.manifest), subject })
  const { status, headers } = await putManifest(served, 'a', digestOf(manifest), manifest)
  t.strictSame([status, headers['oci-subject']], [201, subject.digest])
})

test('end-7 PUT: an index of manifests, nested and empty', async t => {
  const { served, image } = await setUp(t)
  const empty = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [] })
  t.equal((await putManifest(served, 'a', 'empty', empty, indexType)).status, 201)
  const of = (text: string, mediaType: string) => ({ mediaType, digest: digestOf(text), size: text.length })
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: indexType,
    manifests: [of(image.manifest, imageType), of(empty, indexType)]
  })
  t.equal((await putManifest(served, 'a', 'index', index, indexType)).status, 201)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/index')).headers['content-type'], indexType)
})

test('end-9 DELETE: by tag the tag goes and the manifest stays', async t => {
  const { served, image } = await setUp(t)
  t.equal((await ask(served.listen, 'DELETE', '/v2/a/manifests/v1')).status, 202)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).status, 404)
  t.equal((await ask(served.listen, 'GET', `/v2/a/manifests/${image.digest}`)).status, 200)
  t.strictSame(await tags(served), [])
})

test('end-9 DELETE: by digest the manifest and every tag of it go at once, others stay', async t => {
  const { served, image } = await setUp(t)
  await putManifest(served, 'a', 'same', image.manifest)
  await pushImage(served, 'a', 'other')
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/manifests/${image.digest}`)).status, 202)
  for (const reference of ['v1', 'same', image.digest]) {
    t.equal((await ask(served.listen, 'GET', `/v2/a/manifests/${reference}`)).status, 404, reference)
  }
  t.strictSame(await tags(served), ['other'])
})

test('end-9 DELETE: what is not there answers 404', async t => {
  const { served } = await setUp(t)
  for (const path of ['/v2/none/manifests/v1', '/v2/a/manifests/none', `/v2/a/manifests/${digestOf('none')}`]) {
    t.equal((await ask(served.listen, 'DELETE', path)).status, 404, path)
  }
})
