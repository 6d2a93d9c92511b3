import { test } from 'tap'
import { ask, filesBelow } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, prefix, serveModes, storedFills } from './scene.ts'

/** A further upstream reached at the test's server. */
const at = (url: string, more: Record<string, unknown> = {}) => ({ scheme: 'HTTP', endpoints: [new URL(url).host], ...more })

for (const mode of ['Proxy', 'Local'] as const) {
  test(`${mode}: ns= of a cached upstream is pulled from there, and kept under upstreams/<host>/`, async t => {
    const [own, other] = [await startUpstream(t), await startUpstream(t)]
    const image = other.addImage('lib/tool', 'v1')
    const registry = mode === 'Local' ? { mode } : behind('Proxy', own)
    const served = await serveModes(t, { registry: { ...registry, upstreams: { 'quay.test:5000': at(other.url) } } })
    const manifest = await ask(served.listen, 'GET', '/v2/lib/tool/manifests/v1?ns=quay.test:5000')
    t.strictSame([manifest.status, manifest.body.toString(), manifest.headers['oci-namespace']], [200, image.manifest, 'quay.test:5000'])
    t.equal((await pull(served.listen, `/v2/lib/tool/blobs/${image.layer}?ns=quay.test:5000`)).digest, image.layer)
    await storedFills(served, 1)
    const links = (await filesBelow(served.root)).filter(each => each.includes('/repositories/'))
    t.ok(links.length > 0)
    for (const link of links) t.match(link, /\/repositories\/upstreams\/quay\.test_5000\/lib\/tool\//)
    await other.stop()
    t.equal((await pull(served.listen, `/v2/lib/tool/blobs/${image.layer}?ns=quay.test:5000`)).digest, image.layer)
    t.equal(own.requests.length, 0)
  })
}

test('ns= of a transit upstream passes through, and nothing is kept', async t => {
  const other = await startUpstream(t)
  const image = other.addImage('lib/tool', 'v1')
  const served = await serveModes(t, { registry: { mode: 'Local', upstreams: { 'quay.test': at(other.url, { policy: 'transit' }) } } })
  t.equal((await ask(served.listen, 'GET', '/v2/lib/tool/manifests/v1?ns=quay.test')).body.toString(), image.manifest)
  t.equal((await pull(served.listen, `/v2/lib/tool/blobs/${image.layer}?ns=quay.test`)).digest, image.layer)
  t.strictSame(
    (await filesBelow(served.root)).filter(each => each.startsWith('docker/')),
    []
  )
})

test('an unknown ns= is 404 and is never dialled', async t => {
  const [own, stranger] = [await startUpstream(t), await startUpstream(t)]
  stranger.addImage(`${prefix.here}/app`, 'v1')
  const served = await serveModes(t, { registry: behind('Proxy', own) })
  const host = new URL(stranger.url).host
  for (const ns of [host, `${host}/`, `http://${host}`, 'localhost', '169.254.169.254', 'constructor', '__proto__']) {
    const { status, headers } = await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1?ns=${encodeURIComponent(ns)}`)
    t.strictSame([status, headers['oci-namespace']], [404, undefined], ns)
  }
  t.strictSame([own.requests.length, stranger.requests.length], [0, 0])
})

test("ns= of this registry's own name is this registry, and is told back", async t => {
  const own = await startUpstream(t)
  const image = own.addImage(`${prefix.there}/app`, 'v1')
  const served = await serveModes(t, { registry: behind('Proxy', own) })
  const { status, headers, body } = await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1?ns=registry.test:5001`)
  t.strictSame([status, headers['oci-namespace'], body.toString()], [200, 'registry.test:5001', image.manifest])
})

test('what a further upstream brought is not to be had through the own prefix, nor under another ns=', async t => {
  const [own, other, third] = [await startUpstream(t), await startUpstream(t), await startUpstream(t)]
  const image = other.addImage('lib/tool', 'v1')
  const upstreams = { 'quay.test': at(other.url), 'third.test': at(third.url) }
  const served = await serveModes(t, { registry: { ...behind('Proxy', own), upstreams } })
  await ask(served.listen, 'GET', '/v2/lib/tool/manifests/v1?ns=quay.test')
  await pull(served.listen, `/v2/lib/tool/blobs/${image.layer}?ns=quay.test`)
  for (const path of [`manifests/${image.digest}`, 'manifests/v1', `blobs/${image.layer}`]) {
    t.equal((await ask(served.listen, 'GET', `/v2/lib/tool/${path}?ns=third.test`)).status, 404)
    t.equal((await ask(served.listen, 'GET', `/v2/upstreams/quay.test/lib/tool/${path}`)).status, 404)
  }
})

test('with a further upstream away its catalog is what is cached of it, under its own names', async t => {
  const [own, other] = [await startUpstream(t), await startUpstream(t)]
  other.addImage('lib/tool', 'v1')
  own.addImage(`${prefix.there}/app`, 'v1')
  const served = await serveModes(t, { registry: { ...behind('Proxy', own), upstreams: { 'quay.test': at(other.url) } } })
  await ask(served.listen, 'GET', '/v2/lib/tool/manifests/v1?ns=quay.test')
  await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
  await other.stop()
  const { body } = await ask(served.listen, 'GET', '/v2/_catalog?ns=quay.test')
  t.strictSame(JSON.parse(body.toString()), { repositories: ['lib/tool'] })
})
