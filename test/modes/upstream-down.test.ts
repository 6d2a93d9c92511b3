import { test } from 'tap'
import { ask } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, downloads, prefix, serveModes, storedFills } from './scene.ts'

const manifest = (reference: string) => `/v2/${prefix.here}/app/manifests/${reference}`

test('Proxy: with the upstream down at start it is ready, and serves cached tags and blobs with a warning', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const blob = `/v2/${prefix.here}/app/blobs/${image.layer}`
  const sections = { registry: behind('Proxy', upstream), cache: { tagTTL: '0s' } }
  const first = await serveModes(t, sections)
  await ask(first.listen, 'GET', manifest('v1'))
  await pull(first.listen, blob)
  await storedFills(first, 1)
  await first.stop()
  await upstream.stop()

  const served = await serveModes(t, sections, first.root)
  t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
  const { status, headers, body } = await ask(served.listen, 'GET', manifest('v1'))
  t.strictSame([status, body.toString()], [200, image.manifest])
  t.match(headers.warning, /^299 - "stale: /)
  t.match(headers.age, /^\d+$/)
  t.equal((await pull(served.listen, blob)).digest, image.layer)
  t.equal((await ask(served.listen, 'GET', manifest('v2'))).status, 502)
  const [[health]] = Object.values(
    (await served.status())['upstreams'] as Record<string, [{ healthy: boolean; lastError: { message: string } }]>
  ) as [[{ healthy: boolean; lastError: { message: string } }]]
  t.equal(health.healthy, false)
  t.match(health.lastError.message, /ECONNREFUSED/)
  t.equal(served.lines.filter(each => each['outcome'] === 'stale').length, 1)
})

test('Direct: with the upstream down at start it is ready, and answers 502', async t => {
  const upstream = await startUpstream(t)
  const sections = { registry: behind('Direct', upstream) }
  await upstream.stop()
  const served = await serveModes(t, sections)
  t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
  t.equal((await ask(served.listen, 'GET', manifest('v1'))).status, 502)
})

test('Proxy: an upstream that limits with Retry-After is asked once in that time for each kind of content, and cached content never answers 429', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const served = await serveModes(t, { registry: behind('Proxy', upstream), cache: { tagTTL: '0s', negativeTTL: '0s' } })
  const blob = `/v2/${prefix.here}/app/blobs/${image.layer}`
  await ask(served.listen, 'GET', manifest('v1'))
  await pull(served.listen, blob)
  upstream.faults.statuses.push({ status: 429, headers: { 'retry-after': '60' } })
  const before = upstream.requests.length
  for (let time = 0; time < 10; time++) {
    t.equal((await ask(served.listen, 'GET', manifest('v1'))).status, 200)
    t.equal((await pull(served.listen, blob)).status, 200)
    t.equal((await ask(served.listen, 'GET', `/v2/${prefix.here}/app/tags/list`)).status, 200)
  }
  const uncached = await ask(served.listen, 'GET', manifest('v2'))
  t.equal(uncached.status, 429)
  t.ok(Number(uncached.headers['retry-after']) > 30, `${uncached.headers['retry-after']}`)
  t.equal((await ask(served.listen, 'GET', `/v2/${prefix.here}/app/blobs/sha256:${'0'.repeat(64)}`)).status, 429)
  t.equal(upstream.requests.length - before, 3)
})

test('Proxy: a Retry-After survives a change of settings that has nothing to do with it', async t => {
  const upstream = await startUpstream(t)
  const registry = behind('Proxy', upstream)
  const served = await serveModes(t, { registry })
  upstream.faults.statuses.push({ status: 429, headers: { 'retry-after': '60' } })
  t.equal((await ask(served.listen, 'GET', manifest('v1'))).status, 429)
  await served.change({ registry, log: { level: 'warn' } })
  t.equal((await ask(served.listen, 'GET', manifest('v1'))).status, 429)
  t.equal(upstream.requests.length, 1)
})

test('Proxy: a blob that was cached is a hit with the upstream stopped', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 100_000)
  await pull(served.listen, path)
  await upstream.stop()
  t.equal((await pull(served.listen, path)).digest, digest)
  t.equal(downloads(upstream, digest).length, 1)
})
