import { test } from 'tap'
import { ask, metric, pushImage } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, downloads, prefix, serveModes } from './scene.ts'

for (const mode of ['Proxy', 'Direct'] as const) {
  for (const status of [401, 403, 405]) {
    test(`${mode}: an upstream that answers HEAD with ${status} is pulled from`, async t => {
      const upstream = await startUpstream(t)
      upstream.faults.headStatus = status
      const served = await serveModes(t, { registry: behind(mode, upstream) })
      const { digest, bytes, path } = blobBehind(upstream, 100_000)
      const head = await ask(served.listen, 'HEAD', path)
      t.strictSame([head.status, head.headers['content-length']], [200, String(bytes.length)])
      t.equal((await pull(served.listen, path)).digest, digest)
    })
  }

  test(`${mode}: HEAD of an uncached blob starts no download`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, 100_000)
    const head = await ask(served.listen, 'HEAD', path)
    t.strictSame([head.status, head.headers['content-length']], [200, '100000'])
    t.equal(downloads(upstream, digest).length, 0)
    t.equal(await metric(served, 'registry_fills_running'), 0)
  })

  test(`${mode}: HEAD and GET of a blob that upstream has not are 404`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const path = `/v2/${prefix.here}/app/blobs/sha256:${'0'.repeat(64)}`
    t.equal((await ask(served.listen, 'HEAD', path)).status, 404)
    t.equal((await ask(served.listen, 'GET', path)).status, 404)
  })

  test(`${mode}: a name outside the prefix is unknown, and upstream is not asked`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const digest = `sha256:${'0'.repeat(64)}`
    for (const path of [`manifests/v1`, `manifests/${digest}`, `blobs/${digest}`, 'tags/list']) {
      for (const method of ['GET', 'HEAD'])
        t.equal((await ask(served.listen, method, `/v2/other/app/${path}`)).status, 404, `${method} ${path}`)
    }
    t.equal(upstream.requests.length, 0)
  })
}

test('Proxy: what was pushed in Local under another name is unknown in Proxy, by HEAD as by GET', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  const { digest, config } = await pushImage(served, 'other/app', 'v1')
  await served.change({ registry: behind('Proxy', upstream) })
  for (const path of ['manifests/v1', `manifests/${digest}`, `blobs/${config}`]) {
    for (const method of ['GET', 'HEAD'])
      t.equal((await ask(served.listen, method, `/v2/other/app/${path}`)).status, 404, `${method} ${path}`)
  }
})
