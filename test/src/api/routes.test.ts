import { join } from 'node:path'
import { test } from 'tap'
import { ask, codeOf, digestOf, filesBelow, pushImage, serve, startSession } from '../support.ts'
import { Wire } from './wire.ts'

const digest = digestOf('')
const session = '00000000-0000-4000-8000-000000000000'
const endpoints: [name: string, path: string, allow: string][] = [
  ['/', '/', 'GET, HEAD'],
  ['end-1', '/v2/', 'GET, HEAD'],
  ['_catalog', '/v2/_catalog', 'GET, HEAD'],
  ['_oci/ext/discover', '/v2/_oci/ext/discover', 'GET, HEAD'],
  ['end-2', `/v2/a/blobs/${digest}`, 'GET, HEAD, DELETE'],
  ['end-3', '/v2/a/manifests/v1', 'GET, HEAD, PUT, DELETE'],
  ['end-4', '/v2/a/blobs/uploads/', 'POST'],
  ['end-5', `/v2/a/blobs/uploads/${session}`, 'GET, PATCH, PUT, DELETE'],
  ['end-8', '/v2/a/tags/list', 'GET, HEAD'],
  ['end-12', `/v2/a/referrers/${digest}`, 'GET, HEAD']
]
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'SEARCH']
for (const [name, path, allow] of endpoints) {
  test(`${name}: every other method answers 405 with Allow: ${allow}`, async t => {
    const { listen } = await serve(t)
    for (const method of methods.filter(each => !allow.split(', ').includes(each))) {
      const answer = await ask(listen, method, path)
      t.equal(answer.status, 405, method)
      t.equal(answer.headers.allow, allow, method)
      if (method !== 'HEAD') t.equal(codeOf(answer), 'UNSUPPORTED', method)
    }
  })
}

for (const path of [
  '/v3/',
  '/v2/a',
  '/v2/a/tags',
  '/v2/a/tags/list/',
  '/v2/a/tags/lists',
  '/v2/_catalog/x',
  '/v2/a/_catalog',
  '/v2/_oci/ext/other',
  '/v2/a/layers/x',
  '/v2/../v2/',
  '//v2/',
  '/v1/_ping',
  '/favicon.ico'
]) {
  test(`a path that no endpoint has answers 404 in JSON: ${path}`, async t => {
    const { listen } = await serve(t)
    const answer = await ask(listen, 'GET', path)
    t.strictSame([answer.status, codeOf(answer)], [404, 'UNSUPPORTED'])
  })
}

test('GET / answers 200 without credentials', async t => {
  const { listen } = await serve(t, { auth: { anonymous: [] } })
  t.equal((await ask(listen, 'GET', '/')).status, 200)
  t.equal((await ask(listen, 'GET', '/v2/')).status, 401)
})

test('end-1 GET /v2/ names the version of the API, also where it answers 401', async t => {
  const version = { 'docker-distribution-api-version': 'registry/2.0' }
  const open = await serve(t)
  t.match(await ask(open.listen, 'GET', '/v2/'), { status: 200, headers: version })
  const closed = await serve(t, { auth: { anonymous: [] } })
  t.match(await ask(closed.listen, 'GET', '/v2/'), { status: 401, headers: version })
})

const up = '%2e%2e%2f'.repeat(12)
const names: [what: string, name: string][] = [
  ['..', '..'],
  ['../ twelve deep', '../'.repeat(12)],
  ['%2e%2e%2f twelve deep', up],
  ['%252e%252e%252f twelve deep', '%252e%252e%252f'.repeat(12)],
  ['a/../../b', 'a/../../b'],
  ['%00', '%00'],
  ['a%00b', 'a%00b'],
  ['upper case', 'Library/Alpine'],
  ['10 KiB', 'a'.repeat(10 * 1024)],
  ['256 characters', 'a'.repeat(256)],
  ['an empty component', 'a//b'],
  ['an empty component at the start', '/a'],
  ['nothing', ''],
  ['a dot', '.'],
  ['_uploads as a component', 'a/_uploads'],
  ['_layers as a component', 'a/_layers/b'],
  ['_manifests as the name', '_manifests'],
  ['a backslash', 'a%5c..%5cb'],
  ['a space', 'a%20b'],
  ['a newline', 'a%0a'],
  ['a colon', 'a:b'],
  ['a letter beyond ASCII', '%C3%A4'],
  ['bad percent-encoding', 'a%zz'],
  ['bad UTF-8', 'a%ff']
]

/** Everything outside of the content tree and `.registry`, where nothing may ever be written. */
async function strangers(root: string): Promise<string[]> {
  return (await filesBelow(root)).filter(path => !/^(docker\/registry\/v2\/(blobs|repositories)|\.registry)\//.test(path))
}

for (const [what, name] of names) {
  test(`a name is refused with 400 or 404, to read and to push to: ${what}`, async t => {
    const served = await serve(t)
    for (const [method, path] of [
      ['GET', `/v2/${name}/tags/list`],
      ['POST', `/v2/${name}/blobs/uploads/`],
      ['PUT', `/v2/${name}/manifests/v1`]
    ] as const) {
      const answer = await ask(served.listen, method, path, { body: method === 'GET' ? '' : '{}' })
      t.ok([400, 404].includes(answer.status), `${method} ${answer.status}`)
      t.match(codeOf(answer), /^(NAME_INVALID|UNSUPPORTED)$/)
    }
    t.strictSame(await strangers(served.root), [])
    t.strictSame(await filesBelow(join(served.root, 'docker')).catch(() => []), [], 'nothing was made of it')
  })
}

test('end-4 POST: a name in the form that the spec gives is taken, up to 255 characters', async t => {
  const served = await serve(t)
  for (const name of ['a', '0', 'a.b', 'a_b', 'a__b', 'a---b', 'a/b/c', 'blobs/uploads/x', 'v2/tags/list/y', 'a'.repeat(255)]) {
    t.equal((await ask(served.listen, 'POST', `/v2/${name}/blobs/uploads/`)).status, 202, name.slice(0, 20))
  }
})

const references: [what: string, reference: string, code: string][] = [
  ['..', '..', 'MANIFEST_INVALID'],
  ['%2e%2e%2f twelve deep and a file', `${up}etc%2fpasswd`, ''],
  ['%00', '%00', 'MANIFEST_INVALID'],
  ['a leading dot', '.v1', 'MANIFEST_INVALID'],
  ['a leading dash', '-v1', 'MANIFEST_INVALID'],
  ['129 characters', 'a'.repeat(129), 'MANIFEST_INVALID'],
  ['10 KiB', 'a'.repeat(10 * 1024), 'MANIFEST_INVALID'],
  ['nothing', '', 'MANIFEST_INVALID'],
  ['a digest that is too short', 'sha256:abc', 'DIGEST_INVALID'],
  ['a digest in upper case', digest.toUpperCase(), 'DIGEST_INVALID'],
  ['a digest of another algorithm', `md5:${'a'.repeat(32)}`, 'DIGEST_INVALID'],
  ['a digest with ../ in it', `sha256:${'../'.repeat(21)}a`, '']
]
for (const [what, reference, code] of references) {
  test(`end-3: a reference is refused with 400 or 404 to GET, PUT and DELETE: ${what}`, async t => {
    const served = await serve(t)
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const answer = await ask(served.listen, method, `/v2/a/manifests/${reference}`, { body: method === 'PUT' ? '{}' : '' })
      t.ok([400, 404].includes(answer.status), `${method} ${answer.status}`)
      const found = codeOf(answer)
      if (code !== '') t.equal(found, code, method)
    }
    t.strictSame(await strangers(served.root), [])
  })
}

for (const [what, path] of [
  ['end-2', '/v2/a/blobs/sha256:abc'],
  ['end-2, of sha1', `/v2/a/blobs/sha1:${'a'.repeat(40)}`],
  ['end-12', '/v2/a/referrers/sha256:abc']
]) {
  test(`${what} GET: a digest of bad form answers 400 DIGEST_INVALID`, async t => {
    const { listen } = await serve(t)
    const answer = await ask(listen, 'GET', path ?? '')
    t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
  })
}

for (const id of ['x', session.toUpperCase().replace('0', 'A'), '..', `${up}x`, '%00', 'a'.repeat(10 * 1024)]) {
  test(`end-13 GET: a session that no server made answers 404 or 400: ${id.slice(0, 12)}`, async t => {
    const { listen } = await serve(t)
    const answer = await ask(listen, 'GET', `/v2/a/blobs/uploads/${id}`)
    t.ok([400, 404].includes(answer.status), `${answer.status}`)
    t.match(codeOf(answer), /^(BLOB_UPLOAD_UNKNOWN|NAME_INVALID|UNSUPPORTED)$/)
  })
}

test('pushes write below blobs, repositories and .registry and nowhere else', async t => {
  const served = await serve(t)
  await pushImage(served, 'a/b', 'v1')
  await startSession(served, 'a/b')
  t.strictSame(await strangers(served.root), [])
  t.ok((await filesBelow(served.root)).length > 5)
})

test('GET /v2/: bad percent-encoding in a path is a line of the log like any other', async t => {
  const served = await serve(t)
  await ask(served.listen, 'GET', '/v2/a%zz/tags/list?secret=1')
  t.match(served.logged('request'), [{ method: 'GET', route: 'none', path: '/v2/a%zz/tags/list', status: 400 }])
})

test('OPTIONS *: answered with JSON', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head('OPTIONS *')
  const { status, headers } = await wire.answer()
  t.equal(status, 404)
  t.equal(headers['content-type'], 'application/json')
})
