import { test } from 'tap'
import { filesBelow, metric, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull, pullRaw } from './client.ts'
import { behind, blobBehind, bytesSent, downloads, serveModes } from './scene.ts'

const size = 10 * 2 ** 20
const cuts = [size * 0.4, size * 0.7]

for (const mode of ['Proxy', 'Direct'] as const) {
  test(`${mode}: an upstream cut at 40 % and at 70 % is one uninterrupted answer`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.cutAt = [...cuts]
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, size)
    const pulled = await pull(served.listen, path)
    t.strictSame([pulled.status, pulled.digest, pulled.complete], [200, digest, true])
    t.strictSame(
      downloads(upstream, digest).map(each => each.range),
      [undefined, ...cuts.map(each => `bytes=${each}-${size - 1}`)]
    )
    t.equal(bytesSent(upstream, digest), size)
  })

  test(`${mode}: an upstream that breaks for good ends the answer short by FIN`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.cutAt = [size / 2]
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, size)
    upstream.faults.statuses.push({ status: 404, when: each => each.range !== undefined })
    const { head, bytes, end } = await pullRaw(served.listen, path)
    t.match(head, /^HTTP\/1.1 200/)
    t.ok(bytes < size && bytes > 0, `${bytes} bytes`)
    t.equal(end, 'fin')
    t.strictSame(
      (await filesBelow(served.root)).filter(each => each.endsWith('/data')),
      []
    )
    upstream.faults.statuses.length = 0
    t.equal((await pull(served.listen, path)).digest, digest, 'the next pull begins anew')
  })

  test(`${mode}: a wrong byte ends the answer short by FIN, is logged and counted, and the next pull is right`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.wrongByte = 5_000_000
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, size)
    const { head, bytes, end } = await pullRaw(served.listen, path)
    t.match(head, new RegExp(`^HTTP/1.1 200.*content-length: ${size}`, 'is'))
    t.ok(bytes < size, `${bytes} bytes`)
    t.equal(end, 'fin')
    upstream.faults.wrongByte = undefined
    t.equal((await pull(served.listen, path)).digest, digest)
    t.equal(await metric(served, 'registry_http_responses_cut_total', '{cause="source"}'), 1)
    await until(() => served.logged('request failed').length > 0)
    t.equal(served.logged('request failed').length, 1)
    if (mode === 'Direct') return
    t.equal(await metric(served, 'registry_fills_total', '{result="wrong"}'), 1)
    await until(() => served.logged('upstream sent wrong bytes for a blob; nothing was stored').length > 0)
    t.equal(served.logged('upstream sent wrong bytes for a blob; nothing was stored').length, 1)
  })

  test(`${mode}: a small blob with a wrong byte has no byte of its body sent`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.wrongByte = 3
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { path } = blobBehind(upstream, 1000)
    t.equal((await pullRaw(served.listen, path)).bytes, 0)
  })

  test(`${mode}: a wrong byte of a blob of unknown size leaves the chunked body without its end`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.wrongByte = 300_000
    upstream.faults.noLength = true
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { path } = blobBehind(upstream, 2 ** 20)
    const pulled = await pull(served.listen, path)
    t.strictSame([pulled.status, pulled.complete], [200, false])
  })

  test(`${mode}: a blob of unknown size comes whole, chunked, and its bytes are counted`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.noLength = true
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, 2 ** 20)
    const pulled = await pull(served.listen, path)
    t.strictSame([pulled.status, pulled.digest, pulled.complete], [200, digest, true])
    t.equal(pulled.headers['content-length'], undefined)
    t.equal(await metric(served, 'registry_http_response_bytes_total', '{route="blob"}'), 2 ** 20)
  })
}
