import { type Test, test } from 'tap'
import { ask, basicOf, bytesOf, digestOf, guarded, pushBlob, pushImage, serve, startSession, until } from '../support.ts'

const secret = 'tale-of-a-password'

async function setUp(t: Test) {
  const served = await serve(t, { auth: guarded(t) })
  return { served, headers: { authorization: basicOf('rw') } }
}

test('log: one line a request, with what issue and operators need', async t => {
  const { served, headers } = await setUp(t)
  const bytes = bytesOf(5000)
  const digest = digestOf(bytes)
  await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes, headers })
  await until(() => served.logged('request').length === 1)
  const from = served.lines.length
  await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, {
    headers: { ...headers, 'user-agent': 'containerd/2.1' }
  })
  await until(() => served.lines.length > from)
  const lines = served.lines.slice(from)
  t.equal(lines.length, 1)
  t.match(lines[0], {
    level: 30,
    msg: 'request',
    method: 'GET',
    route: 'blob',
    name: 'a',
    digest,
    status: 200,
    sent: 5000,
    promised: 5000,
    outcome: 'hit',
    user: 'rw',
    agent: 'containerd/2.1',
    address: '127.0.0.1',
    request: /^[a-z0-9]+-[a-z0-9]+$/,
    ms: Number
  })
})

test('log: a push says what was received, and in which session', async t => {
  const served = await serve(t)
  const location = await startSession(served, 'a')
  await ask(served.listen, 'PATCH', location, { body: bytesOf(300) })
  t.match(served.logged('request').at(-1), {
    method: 'PATCH',
    route: 'upload',
    received: 300,
    status: 202,
    session: location.split('/').at(-1)
  })
})

test('log: a manifest by tag shows the tag and the digest', async t => {
  const served = await serve(t)
  const { digest } = await pushImage(served, 'a', 'v1')
  await ask(served.listen, 'GET', '/v2/a/manifests/v1')
  t.match(served.logged('request').at(-1), { route: 'manifest', reference: 'v1', digest, status: 200 })
})

test('log: without an id of the client each request has its own', async t => {
  const served = await serve(t)
  for (let round = 0; round < 3; round++) await ask(served.listen, 'GET', '/v2/')
  t.equal(new Set(served.logged('request').map(line => line['request'])).size, 3)
})

test('log: a refused request is a line as well', async t => {
  const { served } = await setUp(t)
  await ask(served.listen, 'GET', '/v2/a/tags/list')
  t.match(served.logged('request'), [{ status: 401, route: 'tags', name: 'a', level: 30 }])
})

test('audit: a push, a change of a tag and a deletion each name actor, action, name, tag, old and new', async t => {
  const { served, headers } = await setUp(t)
  const put = async (annotation: string) => {
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [],
      annotations: { annotation }
    })
    const type = { 'content-type': 'application/vnd.oci.image.index.v1+json' }
    t.equal((await ask(served.listen, 'PUT', '/v2/a/manifests/v1', { body: manifest, headers: { ...headers, ...type } })).status, 201)
    return digestOf(manifest)
  }
  const [old, next] = [await put('1'), await put('2')]
  await ask(served.listen, 'DELETE', `/v2/a/manifests/${next}`, { headers })
  const fields = ['actor', 'action', 'name', 'tag', 'old', 'new'] as const
  const audit = served
    .logged('content changed')
    .map(line => Object.fromEntries(fields.flatMap(field => (field in line ? [[field, line[field]]] : []))))
  const by = { actor: 'rw', name: 'a' }
  t.strictSame(audit, [
    { ...by, action: 'push', new: old },
    { ...by, action: 'tag', tag: 'v1', new: old },
    { ...by, action: 'push', new: next },
    { ...by, action: 'tag', tag: 'v1', old, new: next },
    { ...by, action: 'delete', tag: 'v1', old: next },
    { ...by, action: 'delete', old: next }
  ])
  for (const line of served.logged('content changed')) t.match(line, { audit: true, address: '127.0.0.1', request: String })
})

test('audit: pushes, mounts and deletions of blobs', async t => {
  const served = await serve(t)
  const digest = await pushBlob(served, 'a', bytesOf(5))
  await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?mount=${digest}&from=a`)
  await ask(served.listen, 'DELETE', `/v2/a/blobs/${digest}`)
  t.match(served.logged('content changed'), [
    { actor: 'anonymous', action: 'push', name: 'a', new: digest },
    { action: 'push', name: 'b', new: digest },
    { action: 'delete', name: 'a', old: digest }
  ])
})

test('audit: what was refused leaves no line', async t => {
  const served = await serve(t)
  await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'y' })
  await ask(served.listen, 'PUT', '/v2/a/manifests/v1', { body: '{}' })
  await ask(served.listen, 'DELETE', '/v2/a/manifests/v1')
  t.strictSame(served.logged('content changed'), [])
})

test('log: no password, no Authorization and no query string is ever in it', async t => {
  const { served, headers } = await setUp(t)
  const wrong = { authorization: `Basic ${Buffer.from('rw:wrong-guess').toString('base64')}` }
  const paths = [
    '/v2/a/tags/list?secret=in-the-query',
    '/v2/x?secret=in-the-query',
    '/v2/a%zz?secret=in-the-query',
    '/?secret=in-the-query'
  ]
  for (const each of [headers, wrong, { authorization: 'Bearer a-bearer-token' }]) {
    for (const path of paths) await ask(served.listen, 'GET', path, { headers: each })
  }
  await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}&secret=in-the-query`, { body: 'y', headers })
  const text = JSON.stringify(served.lines)
  t.ok(served.logged('request').length >= 13)
  for (const each of [secret, 'wrong-guess', 'a-bearer-token', 'in-the-query', headers.authorization, wrong.authorization, 'Basic ', '?']) {
    t.notOk(text.includes(each), each)
  }
})
