import { test } from 'tap'
import { Wire } from '../src/api/wire.ts'
import { ask, filesBelow, metric, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, bytesSent, prefix, serveModes } from './scene.ts'

test('Direct: manifests and blobs are byte-exact, and nothing is stored', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const { status, headers, body } = await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
  t.strictSame([status, body.toString(), headers['docker-content-digest']], [200, image.manifest, image.digest])
  t.equal((await pull(served.listen, `/v2/${prefix.here}/app/blobs/${image.layer}`)).digest, image.layer)
  t.strictSame(
    (await filesBelow(served.root)).filter(each => each.startsWith('docker/') || each.includes('/tmp/')),
    []
  )
})

test('Direct: HEAD of a manifest is a HEAD at upstream', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const { status, headers } = await ask(served.listen, 'HEAD', `/v2/${prefix.here}/app/manifests/v1`)
  t.strictSame([status, headers['docker-content-digest'], headers['content-length']], [200, image.digest, String(image.size)])
  t.strictSame(
    upstream.requests.map(each => each.method),
    ['HEAD']
  )
})

test('Direct: the path of the images at the upstream itself is the prefix here', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(prefix.there, 'v1')
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  t.equal((await ask(served.listen, 'GET', `/v2/${prefix.here}/manifests/v1`)).body.toString(), image.manifest)
})

test('Direct: a client that does not read stops the upstream, so that memory does not grow', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const size = 128 * 2 ** 20
  const { digest, path } = blobBehind(upstream, size)
  const wire = await Wire.dial(t, served.listen)
  wire.socket.pause()
  wire.head(`GET ${path}`)
  let last = -1
  // Until nothing moves any more.
  await until(async () => {
    const before = last
    last = bytesSent(upstream, digest)
    await new Promise(resolve => setTimeout(resolve, 300))
    return last > 0 && last === before
  })
  // Socket buffers of the kernel on both ways, and one chunk in between.
  t.ok(last < size / 2, `${last} bytes were taken`)
  wire.socket.destroy()
  await until(async () => (await metric(served, 'registry_requests_running')) === 0)
  t.ok(bytesSent(upstream, digest) < size / 2)
})

test('Direct: several clients of one blob are several downloads', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const { digest, path } = blobBehind(upstream, 100_000)
  const pulls = await Promise.all([1, 2, 3].map(() => pull(served.listen, path)))
  t.strictSame(
    pulls.map(each => each.digest),
    [digest, digest, digest]
  )
  t.equal(upstream.count('/blobs/'), 3)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="bypass"}'), 3)
})

test('Direct and Proxy take no pushes', async t => {
  const upstream = await startUpstream(t)
  for (const mode of ['Direct', 'Proxy'] as const) {
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    t.equal((await ask(served.listen, 'POST', `/v2/${prefix.here}/app/blobs/uploads/`)).status, 405)
    t.equal((await ask(served.listen, 'DELETE', `/v2/${prefix.here}/app/manifests/v1`)).status, 405)
  }
  t.equal(upstream.requests.length, 0)
})

for (const mode of ['Direct', 'Proxy'] as const) {
  test(`${mode}: a slow client behind a slow upstream gets all of it`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.bytesPerSecond = 3 * 2 ** 20
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, 2 ** 20)
    t.equal((await pull(served.listen, path, { bytesPerSecond: 2 * 2 ** 20 })).digest, digest)
  })
}
