import { test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import { indexType, manifestType, startUpstream, type TestUpstream } from '../../support/upstream.ts'
import { clientOf, errorOf, never, served } from './ask.ts'

const tags = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'v7']

function addTags(server: TestUpstream): void {
  for (const tag of tags) server.addImage('a', tag)
}

for (const cursor of [false, true]) {
  test(`upstream tags: all of them over several pages, with ${cursor ? 'a cursor of its own' : 'last'}`, async t => {
    const server = await startUpstream(t)
    addTags(server)
    Object.assign(server.faults, { pageSize: 3, cursor })
    t.strictSame(await served(clientOf(t, [server]).upstream.listTags('a', {}, never())), { items: tags })
    t.equal(server.requests.length, 3)
  })

  test(`upstream tags: page by page, with ${cursor ? 'a cursor of its own' : 'last'}`, async t => {
    const server = await startUpstream(t)
    addTags(server)
    server.faults.cursor = cursor
    const { upstream } = clientOf(t, [server])
    t.strictSame(await served(upstream.listTags('a', { n: 3 }, never())), { items: ['v1', 'v2', 'v3'], next: 'v3' })
    t.strictSame(await served(upstream.listTags('a', { n: 3, last: 'v3' }, never())), { items: ['v4', 'v5', 'v6'], next: 'v6' })
    t.strictSame(await served(upstream.listTags('a', { n: 3, last: 'v6' }, never())), { items: ['v7'] })
  })
}

test('upstream tags: a page whose successor has a name is one request', async t => {
  const server = await startUpstream(t)
  addTags(server)
  await served(clientOf(t, [server]).upstream.listTags('a', { n: 3, last: 'v3' }, never()))
  t.strictSame(
    server.requests.map(each => each.query),
    ['n=3&last=v3']
  )
})

test('upstream tags: an upstream that ignores n and last is paged here', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: JSON.stringify({ name: 'a', tags: ['v3', 'v1', 'v2', 'v1'] }) }]
  const { upstream } = clientOf(t, [server])
  t.strictSame(await served(upstream.listTags('a', { n: 2 }, never())), { items: ['v1', 'v2'], next: 'v2' })
  t.strictSame(await served(upstream.listTags('a', { n: 2, last: 'v2' }, never())), { items: ['v3'] })
})

test('upstream tags: null is an empty list', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: '{"name":"a","tags":null}' }]
  t.strictSame(await served(clientOf(t, [server]).upstream.listTags('a', {}, never())), { items: [] })
})

test('upstream tags: what is no tag is left out', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: JSON.stringify({ tags: ['ok', '../x', 7, null, '<b>', ''] }) }]
  t.strictSame(await served(clientOf(t, [server]).upstream.listTags('a', {}, never())), { items: ['ok'] })
})

test('upstream tags: a list in a circle ends, and its tags are there once', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: '{"tags":["a"]}', headers: { link: '</v2/a/tags/list?page=1>; rel="next"' } }]
  t.equal((await errorOf(clientOf(t, [server]).upstream.listTags('a', {}, never()))).kind, 'invalid')
  t.ok(server.requests.length <= 2)
})

test('upstream tags: the next page is asked of the same endpoint, whatever host stands there', async t => {
  const server = await startUpstream(t)
  const other = await startUpstream(t)
  const link = { link: `<${other.url}/v2/a/tags/list?page=2>; rel="next"` }
  server.faults.statuses = [
    { status: 200, times: 1, body: '{"tags":["a"]}', headers: link },
    { status: 200, body: '{"tags":["b"]}' }
  ]
  t.strictSame(await served(clientOf(t, [server]).upstream.listTags('a', {}, never())), { items: ['a', 'b'] })
  t.strictSame([server.requests[1]?.query, other.requests.length], ['page=2', 0])
})

test('upstream tags: a next page outside of the API is invalid', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: '{"tags":["a"]}', headers: { link: '</admin?x=1>; rel="next"' } }]
  t.equal((await errorOf(clientOf(t, [server]).upstream.listTags('a', {}, never()))).kind, 'invalid')
  t.equal(server.requests.length, 1)
})

for (const body of ['', 'null', '[]', '<html>', '{}', '{"status":"maintenance"}', '{"tags":{}}', '{"tags":"a"}']) {
  test(`upstream tags: ${body || 'nothing'} is no list`, async t => {
    const server = await startUpstream(t)
    server.faults.statuses = [{ status: 200, body }]
    t.equal((await errorOf(clientOf(t, [server]).upstream.listTags('a', {}, never()))).kind, 'invalid')
  })
}

test('upstream names: the catalog is paged like tags, with the right that it needs', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer' } })
  for (const name of ['a', 'b/c', 'd']) server.addImage(name, '1')
  const { upstream } = clientOf(t, [server])
  t.strictSame(await served(upstream.listNames({ n: 2 }, never())), { items: ['a', 'b/c'], next: 'b/c' })
  t.strictSame(await served(upstream.listNames({}, never())), { items: ['a', 'b/c', 'd'] })
  t.equal(new URLSearchParams(server.tokenRequests[0]?.query).get('scope'), 'registry:catalog:*')
})

/** An image and two manifests whose subject it is. */
function addReferrers(server: TestUpstream) {
  const subject = server.addImage('a', '1')
  const descriptor = { mediaType: manifestType, digest: subject.digest, size: subject.size }
  const referrers = ['application/sbom', 'application/signature'].map(artifactType => {
    const { digest, size } = server.addImage('a', artifactType.replace('/', '-'), { subject: descriptor, artifactType })
    return { mediaType: manifestType, digest, size, artifactType }
  })
  referrers.sort((a, b) => (a.digest < b.digest ? -1 : 1))
  return { subject: parseDigest(subject.digest), referrers }
}

test('upstream referrers: by the API, ordered by digest and paged', async t => {
  const server = await startUpstream(t)
  const { subject, referrers } = addReferrers(server)
  const { upstream } = clientOf(t, [server])
  t.strictSame(await served(upstream.listReferrers('a', subject, {}, never())), { items: referrers })
  const [first, second] = referrers
  t.strictSame(await served(upstream.listReferrers('a', subject, { n: 1 }, never())), { items: [first], next: first?.digest })
  t.strictSame(await served(upstream.listReferrers('a', subject, { n: 1, last: first?.digest ?? '' }, never())), { items: [second] })
  t.equal(server.count('/manifests/'), 0)
})

test('upstream referrers: only those of a type, though the upstream does not filter', async t => {
  const server = await startUpstream(t)
  const { subject, referrers } = addReferrers(server)
  const { items } = await served(clientOf(t, [server]).upstream.listReferrers('a', subject, { artifactType: 'application/sbom' }, never()))
  t.strictSame(
    items,
    referrers.filter(each => each.artifactType === 'application/sbom')
  )
  t.equal(server.requests[0]?.query, 'artifactType=application%2Fsbom')
})

test('upstream referrers: without the API they are taken from the fallback tag', async t => {
  const server = await startUpstream(t)
  const { subject, referrers } = addReferrers(server)
  server.faults.noReferrers = true
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: referrers })
  server.addManifest('a', index, { tag: subject.replace(':', '-'), mediaType: indexType })
  t.strictSame(await served(clientOf(t, [server]).upstream.listReferrers('a', subject, {}, never())), { items: referrers })
})

test('upstream referrers: with neither API nor tag there are none', async t => {
  const server = await startUpstream(t)
  const { subject } = addReferrers(server)
  server.faults.noReferrers = true
  t.strictSame(await served(clientOf(t, [server]).upstream.listReferrers('a', subject, {}, never())), { items: [] })
  t.equal(server.requests.length, 2)
})

test('upstream referrers: descriptors that are none are left out', async t => {
  const server = await startUpstream(t)
  const { subject, referrers } = addReferrers(server)
  const manifests = [null, 7, {}, { ...referrers[0], size: -1 }, { ...referrers[0], digest: 'sha256:x' }, referrers[1]]
  server.faults.statuses = [{ status: 200, body: JSON.stringify({ schemaVersion: 2, manifests }) }]
  t.strictSame(await served(clientOf(t, [server]).upstream.listReferrers('a', subject, {}, never())), { items: [referrers[1]] })
})
