import { existsSync, truncateSync } from 'node:fs'
import { test } from 'tap'
import { ask, dataPath, layerPath, metric, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, downloads, prefix, serveModes, storedFills } from './scene.ts'

const at = (name: string, digest: string) => `/v2/${prefix.here}/${name}/blobs/${digest}`

test('Proxy: stored bytes are not given to a name that upstream does not know them under', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 10_000, 'app')
  await pull(served.listen, path)
  t.equal((await ask(served.listen, 'GET', at('other', digest))).status, 404)
  t.equal((await ask(served.listen, 'HEAD', at('other', digest))).status, 404)
  t.notOk(existsSync(layerPath(served.root, `${prefix.here}/other`, digest)))
})

test('Proxy: stored bytes are not given to a name that upstream refuses', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path, bytes } = blobBehind(upstream, 10_000, 'app')
  upstream.addBlob(`${prefix.there}/secret`, bytes)
  upstream.faults.statuses.push({ status: 403, when: each => each.path.includes('/secret/') })
  await pull(served.listen, path)
  t.equal((await ask(served.listen, 'GET', at('secret', digest))).status, 403)
  t.notOk(existsSync(layerPath(served.root, `${prefix.here}/secret`, digest)))
})

test('Proxy: a name that upstream lets read stored bytes costs a question and no download', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path, bytes } = blobBehind(upstream, 10_000, 'app')
  upstream.addBlob(`${prefix.there}/other`, bytes)
  await pull(served.listen, path)
  t.equal((await pull(served.listen, at('other', digest))).digest, digest)
  t.equal(upstream.count(`HEAD /v2/${prefix.there}/other/blobs/`), 1)
  t.equal(downloads(upstream, digest).length, 1)
  t.equal((await pull(served.listen, at('other', digest))).digest, digest)
  t.equal(upstream.requests.length, 2, 'the second time nobody is asked')
})

test("Proxy: a name does not join another name's download before upstream allows it", async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 20, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 2 ** 21, 'app')
  const first = pull(served.listen, path)
  await until(async () => (await metric(served, 'registry_fills_running')) === 1)
  t.equal((await ask(served.listen, 'GET', at('other', digest))).status, 404)
  held.resolve()
  t.equal((await first).digest, digest)
})

test('Proxy: two names in one download are both linked', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 20, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path, bytes } = blobBehind(upstream, 2 ** 21, 'app')
  upstream.addBlob(`${prefix.there}/other`, bytes)
  const joined = Promise.withResolvers<void>()
  const first = pull(served.listen, path)
  await until(async () => (await metric(served, 'registry_fills_running')) === 1)
  const second = pull(served.listen, at('other', digest), { onHead: joined.resolve })
  await joined.promise
  held.resolve()
  t.strictSame([(await first).digest, (await second).digest], [digest, digest])
  await until(() => existsSync(layerPath(served.root, `${prefix.here}/other`, digest)))
  t.ok(existsSync(layerPath(served.root, `${prefix.here}/app`, digest)))
  t.equal(downloads(upstream, digest).length, 1)
})

test('Proxy: a damaged blob heals by being fetched again', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 100_000)
  await pull(served.listen, path)
  await storedFills(served, 1)
  truncateSync(dataPath(served.root, digest), 50_000)
  const asked = upstream.requests.length
  t.equal((await pull(served.listen, path)).digest, digest)
  t.strictSame(
    upstream.requests.slice(asked).map(each => each.method),
    ['GET'],
    'it is asked for once, without a HEAD'
  )
  await storedFills(served, 2)
  await upstream.stop()
  t.equal((await pull(served.listen, path)).digest, digest)
})

test('Proxy: more downloads than upstream.fills pass through uncached', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 19, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream), upstream: { fills: 1 } })
  const [first, second] = [blobBehind(upstream, 2 ** 20), blobBehind(upstream, 2 ** 18)]
  const running = pull(served.listen, first.path)
  await until(async () => (await metric(served, 'registry_fills_running')) === 1)
  t.equal((await pull(served.listen, second.path)).digest, second.digest)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="bypass"}'), 1)
  t.notOk(existsSync(layerPath(served.root, `${prefix.here}/app`, second.digest)))
  held.resolve()
  t.equal((await running).digest, first.digest)
})
