import { join } from 'node:path'
import { type Test, test } from 'tap'
import { ask, bytesOf, codeOf, digestOf, filesBelow, pushBlob, reasonOf, type Served, serve, startSession, until } from '../support.ts'

const bytes = bytesOf(10_000)
const digest = digestOf(bytes)

async function setUp(t: Test): Promise<{ served: Served; location: string }> {
  const served = await serve(t)
  return { served, location: await startSession(served, 'a') }
}

const left = ({ root }: Served): Promise<string[]> => filesBelow(join(root, 'docker')).catch(() => [])

test('end-4a POST: a session with a relative Location that holds its UUID, at 0-0', async t => {
  const { listen } = await serve(t)
  const { status, headers, body } = await ask(listen, 'POST', '/v2/a/b/blobs/uploads/')
  t.equal(status, 202)
  t.match(headers.location, /^\/v2\/a\/b\/blobs\/uploads\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  t.equal(headers.range, '0-0')
  t.equal(body.length, 0)
})

test('end-4a POST: without the slash at the end it is the same endpoint', async t => {
  const { listen } = await serve(t)
  t.equal((await ask(listen, 'POST', '/v2/a/blobs/uploads')).status, 202)
})

test('end-6 PUT: the whole blob at once, with a relative Location that can be pulled', async t => {
  const { served, location } = await setUp(t)
  const { status, headers } = await ask(served.listen, 'PUT', `${location}?digest=${digest}`, { body: bytes })
  t.equal(status, 201)
  t.equal(headers.location, `/v2/a/blobs/${digest}`)
  t.equal(headers['docker-content-digest'], digest)
  t.ok((await ask(served.listen, 'GET', `${headers.location}`)).body.equals(bytes))
})

test('end-4b POST: the whole blob in one request', async t => {
  const { listen } = await serve(t)
  const { status, headers } = await ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes })
  t.equal(status, 201)
  t.ok((await ask(listen, 'GET', `${headers.location}`)).body.equals(bytes))
})

test('end-4b POST: the empty blob in one request', async t => {
  const { listen } = await serve(t)
  const { status, headers } = await ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('')}`)
  t.equal(status, 201)
  t.equal((await ask(listen, 'HEAD', `${headers.location}`)).headers['content-length'], '0')
})

test('end-4b POST: a wrong digest answers 400 DIGEST_INVALID and leaves nothing', async t => {
  const served = await serve(t)
  const answer = await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('other')}`, { body: bytes })
  t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
  t.strictSame(await left(served), [])
})

test('end-4b POST: a Content-Range that does not match leaves no session behind', async t => {
  const served = await serve(t)
  const headers = { 'content-range': '5-10004' }
  t.equal((await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes, headers })).status, 416)
  t.strictSame(await left(served), [])
})

for (const [what, query] of [
  ['of an unsupported algorithm', `digest=md5:${'a'.repeat(32)}`],
  ['of bad form', 'digest=sha256:xyz'],
  ['that is empty', 'digest=']
] as const) {
  test(`end-4b POST: a digest ${what} answers 400 and starts nothing`, async t => {
    const served = await serve(t)
    const answer = await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?${query}`, { body: bytes })
    t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
    t.strictSame(await left(served), [])
  })
  test(`end-6 PUT: a digest ${what} answers 400 and the session stays`, async t => {
    const { served, location } = await setUp(t)
    const answer = await ask(served.listen, 'PUT', `${location}?${query}`, { body: bytes })
    t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
    t.equal((await ask(served.listen, 'GET', location)).status, 204)
  })
}

test('end-4c POST: digest-algorithm=sha512 takes a blob that is named by it', async t => {
  const { listen } = await serve(t)
  const started = await ask(listen, 'POST', '/v2/a/blobs/uploads/?digest-algorithm=sha512')
  t.equal(started.status, 202)
  const wanted = digestOf(bytes, 'sha512')
  const { status, headers } = await ask(listen, 'PUT', `${started.headers.location}?digest=${wanted}`, { body: bytes })
  t.equal(status, 201)
  t.equal(headers['docker-content-digest'], wanted)
})

test('end-6 PUT: a sha512 digest without digest-algorithm before is verified all the same', async t => {
  const { served, location } = await setUp(t)
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digestOf(bytes, 'sha512')}`, { body: bytes })).status, 201)
})

test('end-4c POST: an unsupported digest-algorithm answers 400', async t => {
  const { listen } = await serve(t)
  const answer = await ask(listen, 'POST', '/v2/a/blobs/uploads/?digest-algorithm=md5')
  t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
})

test('end-6 PUT: a wrong digest answers 400 DIGEST_INVALID, publishes nothing and ends the session', async t => {
  const { served, location } = await setUp(t)
  const other = digestOf('other')
  const answer = await ask(served.listen, 'PUT', `${location}?digest=${other}`, { body: bytes })
  t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
  for (const each of [other, digest]) t.equal((await ask(served.listen, 'HEAD', `/v2/a/blobs/${each}`)).status, 404)
  t.equal((await ask(served.listen, 'GET', location)).status, 404)
  t.strictSame(await left(served), [])
})

test('end-6 PUT: without a digest it answers 400 and the session stays', async t => {
  const { served, location } = await setUp(t)
  t.equal((await ask(served.listen, 'PUT', location, { body: bytes })).status, 400)
  t.equal((await ask(served.listen, 'GET', location)).status, 204)
})

test('end-13 GET: the offset of a session', async t => {
  const { served, location } = await setUp(t)
  await ask(served.listen, 'PATCH', location, { body: bytes })
  const { status, headers } = await ask(served.listen, 'GET', location)
  t.equal(status, 204)
  t.equal(headers.range, '0-9999')
  t.equal(headers.location, location)
})

test('end-14 DELETE: a session is cancelled with 204, then 404, and nothing of it is left', async t => {
  const { served, location } = await setUp(t)
  await ask(served.listen, 'PATCH', location, { body: bytes })
  t.equal((await ask(served.listen, 'DELETE', location)).status, 204)
  for (const method of ['GET', 'DELETE', 'PATCH', 'PUT']) {
    const answer = await ask(served.listen, method, method === 'PUT' ? `${location}?digest=${digest}` : location)
    t.strictSame([answer.status, codeOf(answer)], [404, 'BLOB_UPLOAD_UNKNOWN'], method)
  }
  t.strictSame(await left(served), [])
})

for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
  test(`end-5 ${method}: the session of another name answers 404 and is not touched`, async t => {
    const { served, location } = await setUp(t)
    const elsewhere = location.replace('/v2/a/', '/v2/b/')
    const path = method === 'PUT' ? `${elsewhere}?digest=${digest}` : elsewhere
    const answer = await ask(served.listen, method, path, method === 'GET' ? {} : { body: bytes })
    t.strictSame([answer.status, codeOf(answer)], [404, 'BLOB_UPLOAD_UNKNOWN'])
    t.equal((await ask(served.listen, 'GET', location)).headers.range, '0-0')
  })
}

test('end-11 POST: a blob is mounted from another repository', async t => {
  const served = await serve(t)
  await pushBlob(served, 'a', bytes)
  const { status, headers } = await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?mount=${digest}&from=a`)
  t.equal(status, 201)
  t.equal(headers.location, `/v2/b/blobs/${digest}`)
  t.ok((await ask(served.listen, 'GET', `/v2/b/blobs/${digest}`)).body.equals(bytes))
})

test('end-11 POST: without from the blob is found wherever it is', async t => {
  const served = await serve(t)
  await pushBlob(served, 'a', bytes)
  t.equal((await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?mount=${digest}`)).status, 201)
  t.equal((await ask(served.listen, 'HEAD', `/v2/b/blobs/${digest}`)).status, 200)
})

for (const [what, query] of [
  ['an unknown blob', `mount=${digestOf('none')}&from=a`],
  ['an unknown blob without from', `mount=${digestOf('none')}`],
  ['from a repository that has it not', `mount=${digest}&from=c`],
  ['from a name of bad form', `mount=${digest}&from=../a`]
] as const) {
  test(`end-11 POST: a mount of ${what} starts a session with 202`, async t => {
    const served = await serve(t)
    await pushBlob(served, 'a', bytes)
    const { status, headers } = await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?${query}`)
    t.equal(status, 202)
    t.equal((await ask(served.listen, 'PUT', `${headers.location}?digest=${digest}`, { body: bytes })).status, 201)
  })
}

test('end-11 POST: a mount of a digest of bad form answers 400', async t => {
  const { listen } = await serve(t)
  const answer = await ask(listen, 'POST', '/v2/b/blobs/uploads/?mount=sha256:x&from=a')
  t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
})

test('end-6 PUT: two clients that push the same blob at once both get 201', async t => {
  const served = await serve(t)
  const [one, two] = [await startSession(served, 'a'), await startSession(served, 'a')]
  const put = (location: string) => ask(served.listen, 'PUT', `${location}?digest=${digest}`, { body: bytes })
  t.strictSame(
    (await Promise.all([put(one), put(two)])).map(({ status }) => status),
    [201, 201]
  )
  t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
})

test('end-6 PUT: a session goes on after a restart', async t => {
  const { served, location } = await setUp(t)
  await ask(served.listen, 'PATCH', location, { body: bytes.subarray(0, 4000) })
  await served.stop()
  const again = await serve(t, { root: served.root })
  t.equal((await ask(again.listen, 'GET', location)).headers.range, '0-3999')
  const { status } = await ask(again.listen, 'PUT', `${location}?digest=${digest}`, { body: bytes.subarray(4000) })
  t.equal(status, 201)
  t.ok((await ask(again.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
})

test('limits.uploadIdle: an idle session is removed with its bytes', async t => {
  const served = await serve(t, { limits: { uploadIdle: '1s' } })
  const location = await startSession(served, 'a')
  await ask(served.listen, 'PATCH', location, { body: bytes })
  await until(() => served.logged('idle upload sessions were removed').length > 0)
  const answer = await ask(served.listen, 'GET', location)
  t.strictSame([answer.status, codeOf(answer)], [404, 'BLOB_UPLOAD_UNKNOWN'])
  t.strictSame(await left(served), [])
})

test('end-6 PUT: the reason of a wrong digest names both', async t => {
  const { served, location } = await setUp(t)
  const answer = await ask(served.listen, 'PUT', `${location}?digest=${digestOf('other')}`, { body: bytes })
  t.match(JSON.parse(answer.body.toString()).errors[0].detail, { provided: digestOf('other'), actual: digest })
  t.match(reasonOf(answer), /another digest/)
})

test('end-13 GET: Upload-Offset tells an empty session from one of a single byte, which Range cannot', async t => {
  const { served, location } = await setUp(t)
  const empty = await ask(served.listen, 'GET', location)
  t.match([empty.headers.range, empty.headers['upload-offset']], ['0-0', '0'])
  await ask(served.listen, 'PATCH', location, { body: bytes.subarray(0, 1) })
  const one = await ask(served.listen, 'GET', location)
  t.match([one.headers.range, one.headers['upload-offset']], ['0-0', '1'])
})
