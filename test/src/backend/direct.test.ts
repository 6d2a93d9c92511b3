import { test } from 'tap'
import { DirectBackend } from '../../../src/backend/direct.ts'
import { ProxyBackend } from '../../../src/backend/proxy.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { parseReference } from '../../../src/oci/name.ts'
import { named } from '../../support/content.ts'
import { never } from '../upstream/ask.ts'
import { readAll, scene } from './scene.ts'

const app = named('here/app')
const outside = named('elsewhere/app')
const subject = digestOf(Buffer.from('subject'))
const policy = { tagTTL: 60_000, onUpstreamNotFound: 'serve', negativeTTL: 0 } as const

test('Direct: blobs, manifests, tags and names come from upstream under the names here, and each outcome is a bypass', async t => {
  const { server, route } = await scene(t)
  const direct = new DirectBackend(route)
  const { digest, layer } = server.addImage('there/app', 'v1', { layer: Buffer.from('layer') })
  const reference = parseReference('v1')
  t.match(await direct.statManifest(app, reference, never()), { outcome: 'bypass', value: { digest } })
  t.match(await direct.getManifest(app, reference, { signal: never() }), { outcome: 'bypass', value: { descriptor: { digest } } })
  const blob = digestOf(Buffer.from('layer'))
  t.equal(blob, layer)
  t.match(await direct.statBlob(app, blob, never()), { outcome: 'bypass', value: { size: 5 } })
  const opened = await direct.openBlob(app, blob, { signal: never() })
  t.equal((await readAll(opened.value)).toString(), 'layer')
  t.strictSame(await direct.listTags(app, {}, never()), { outcome: 'bypass', value: { items: ['v1'] } })
  t.strictSame(await direct.listNames({}, never()), { outcome: 'bypass', value: { items: [app] } })
})

test('Direct: what upstream has not is unknown here, and a name outside the path is no request', async t => {
  const { server, route } = await scene(t)
  const direct = new DirectBackend(route)
  const reference = parseReference('v1')
  await t.rejects(direct.statBlob(app, subject, never()), { code: 'BLOB_UNKNOWN' })
  await t.rejects(direct.getManifest(app, reference, { signal: never() }), { code: 'MANIFEST_UNKNOWN' })
  const before = server.requests.length
  await t.rejects(direct.getManifest(outside, reference, { signal: never() }), { code: 'NAME_UNKNOWN' })
  await t.rejects(direct.listTags(outside, {}, never()), { code: 'NAME_UNKNOWN' })
  t.equal(server.requests.length, before)
})

test('Direct and Proxy: referrers of a name outside the path are an empty list, as of any unknown name', async t => {
  const { server, route, content, fills } = await scene(t)
  for (const backend of [new DirectBackend(route), new ProxyBackend(content, fills, route, { cache: policy, maxFills: 4 })]) {
    t.strictSame((await backend.listReferrers(outside, subject, {}, never())).value, { items: [] })
    t.equal(server.requests.length, 0)
  }
})

test('Direct: a blob whose size upstream does not tell has no head', async t => {
  const { server, route } = await scene(t)
  server.faults.noLength = true
  server.addBlob('there/app', Buffer.from('blob'))
  await t.rejects(new DirectBackend(route).statBlob(app, digestOf(Buffer.from('blob')), never()), { code: 'UNAVAILABLE', status: 502 })
})

for (const page of ['json', 'html', 'posing'] as const) {
  test(`Direct: a page in place of an answer is 502 with the reason (${page})`, async t => {
    const { server, route } = await scene(t)
    const direct = new DirectBackend(route)
    server.addImage('there/app', 'v1')
    server.faults.page = page
    const reference = parseReference('v1')
    const noManifest = { status: 502, code: 'UNAVAILABLE', detail: { reason: /is no manifest/ } }
    await t.rejects(direct.getManifest(app, reference, { signal: never() }), noManifest)
    await t.rejects(direct.statManifest(app, reference, never()), noManifest)
    const lists: (() => Promise<unknown>)[] = [
      () => direct.listTags(app, {}, never()),
      () => direct.listNames({}, never()),
      () => direct.listReferrers(app, subject, {}, never())
    ]
    for (const list of lists)
      await t.rejects(list(), { status: 502, code: 'UNAVAILABLE', detail: { reason: /is not a JSON object|has no list/ } })
  })
}

test('Proxy: lists are those of what is cached while upstream answers with a page', async t => {
  const { server, route, content, fills } = await scene(t)
  const proxy = new ProxyBackend(content, fills, route, { cache: policy, maxFills: 4 })
  server.addImage('there/app', 'v1')
  await proxy.getManifest(app, parseReference('v1'), { signal: never() })
  server.faults.page = 'json'
  t.match(await proxy.listTags(app, {}, never()), { outcome: 'stale', value: { items: ['v1'] } })
  t.match(await proxy.listNames({}, never()), { outcome: 'stale', value: { items: [app] } })
})
