import { test } from 'tap'
import { Wire } from '../src/api/wire.ts'
import { ask, digestOf, filesBelow, metric, pushBlob, pushImage, putManifest, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, downloads, prefix, serveModes, storedFills } from './scene.ts'

const name = `${prefix.here}/app`
const local = { registry: { mode: 'Local' } }

test('transfers run on undisturbed while the mode goes Proxy, Local, Direct, Proxy', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 20, until: held.promise }
  const proxy = { registry: behind('Proxy', upstream) }
  const served = await serveModes(t, proxy)
  const cached = blobBehind(upstream, 2 ** 21)
  const passed = blobBehind(upstream, 2 ** 21)
  const begin = async (path: string) => {
    const head = Promise.withResolvers<void>()
    const pulled = pull(served.listen, path, { onHead: head.resolve })
    await head.promise
    return { pulled }
  }
  const running = [await begin(cached.path)]
  const to = async (sections: Parameters<typeof served.change>[0], mode: string) => {
    t.equal((await served.change(sections)).result, 'applied')
    t.equal((await served.status())['mode'], mode)
  }
  await to(local, 'Local')
  await to({ registry: behind('Direct', upstream) }, 'Direct')
  running.push(await begin(passed.path))
  await to(proxy, 'Proxy')
  running.push(await begin(cached.path))
  held.resolve()
  const pulls = await Promise.all(running.map(each => each.pulled))
  t.strictSame(
    pulls.map(each => [each.digest, each.complete]),
    [cached, passed, cached].map(each => [each.digest, true])
  )
  t.equal(downloads(upstream, cached.digest).length, 1, 'the download that began before goes on for all')
})

test('Proxy to Local and back keeps every byte, and Local serves what was cached', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const proxy = { registry: behind('Proxy', upstream) }
  const served = await serveModes(t, proxy)
  await ask(served.listen, 'GET', `/v2/${name}/manifests/v1`)
  for (const digest of [image.config, image.layer]) await pull(served.listen, `/v2/${name}/blobs/${digest}`)
  await storedFills(served, 2)
  const content = async () => (await filesBelow(served.root)).filter(each => each.startsWith('docker/'))
  const before = await content()
  await upstream.stop()
  for (const sections of [local, { registry: behind('Direct', upstream) }, local]) await served.change(sections)
  t.strictSame(await content(), before)
  t.equal((await ask(served.listen, 'GET', `/v2/${name}/manifests/v1`)).body.toString(), image.manifest)
  t.equal((await pull(served.listen, `/v2/${name}/blobs/${image.layer}`)).digest, image.layer)
  await served.change(proxy)
  t.strictSame(await content(), before)
  t.equal((await pull(served.listen, `/v2/${name}/blobs/${image.layer}`)).digest, image.layer)
})

test('what was pushed in Local is served in Proxy, without a mark of origin, even if upstream has it not', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, local)
  const pushed = await pushImage(served, name, 'v1')
  await served.change({ registry: behind('Proxy', upstream), cache: { onUpstreamNotFound: 'forget', tagTTL: '0s' } })
  for (let time = 0; time < 2; time++) {
    const { status, body } = await ask(served.listen, 'GET', `/v2/${name}/manifests/v1`)
    t.strictSame([status, body.toString()], [200, pushed.manifest])
  }
  t.equal((await pull(served.listen, `/v2/${name}/blobs/${pushed.config}`)).digest, pushed.config)
  t.strictSame(
    (await filesBelow(served.root)).filter(each => each.startsWith('.registry/origin/')),
    []
  )
})

test('a push takes the mark of origin from what was cached', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const bytes = upstream.content.blobs.get(`${prefix.there}/app`)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  await ask(served.listen, 'GET', `/v2/${name}/manifests/v1`)
  for (const digest of [image.config, image.layer]) await pull(served.listen, `/v2/${name}/blobs/${digest}`)
  await storedFills(served, 2)
  const marks = async () => (await filesBelow(served.root)).filter(each => each.startsWith('.registry/origin/')).length
  t.equal(await marks(), 4)
  await served.change(local)
  for (const digest of [image.config, image.layer]) await pushBlob(served, name, bytes?.get(digest) ?? Buffer.alloc(0))
  t.equal((await putManifest(served, name, 'v1', image.manifest)).status, 201)
  t.equal(await marks(), 0)
})

test('an upload that runs when the mode changes is finished', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, local)
  const bytes = Buffer.alloc(100_000, 'x')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`POST /v2/${name}/blobs/uploads/?digest=${digestOf(bytes)}`, [`Content-Length: ${bytes.length}`])
  wire.socket.write(bytes.subarray(0, 50_000))
  await until(async () => (await metric(served, 'registry_uploads_open', '{state="writing"}')) === 1)
  await served.change({ registry: behind('Proxy', upstream) })
  wire.socket.write(bytes.subarray(50_000))
  t.equal((await wire.answer()).status, 201)
  t.equal((await pull(served.listen, `/v2/${name}/blobs/${digestOf(bytes)}`)).digest, digestOf(bytes))
})

test('an upload session that began in Local goes on to its end in Proxy, where none can begin', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, local)
  const bytes = Buffer.from('pushed in two requests')
  const { headers } = await ask(served.listen, 'POST', `/v2/${name}/blobs/uploads/`)
  const location = String(headers.location)
  await ask(served.listen, 'PATCH', location, { body: bytes.subarray(0, 6) })
  await served.change({ registry: behind('Proxy', upstream) })
  t.equal((await ask(served.listen, 'POST', `/v2/${name}/blobs/uploads/`)).status, 405)
  t.equal((await ask(served.listen, 'PATCH', location, { body: bytes.subarray(6) })).status, 202)
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digestOf(bytes)}`)).status, 201)
  t.equal((await ask(served.listen, 'GET', `/v2/${name}/blobs/${digestOf(bytes)}`)).body.toString(), bytes.toString())
  t.equal((await ask(served.listen, 'PATCH', location, { body: bytes })).status, 405)
})
