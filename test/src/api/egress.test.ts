import { type Test, test } from 'tap'
import { ask, bytesOf, digestOf, metric, pushBlob, pushImage, serve } from '../support.ts'
import { Wire } from './wire.ts'

const mib = 1024 * 1024

async function setUp(t: Test) {
  const served = await serve(t, { limits: { egress: '4MiB' } })
  const digest = await pushBlob(served, 'a', bytesOf(4 * mib))
  const pull = async () => {
    const wire = await Wire.dial(t, served.listen)
    wire.head(`GET /v2/a/blobs/${digest}`)
    return wire
  }
  return { served, digest, pull }
}

test('egress: two transfers get the same number of bytes, though one began earlier', async t => {
  const { pull } = await setUp(t)
  const first = await pull()
  await first.bytes(mib)
  const second = await pull()
  const before = first.socket.bytesRead
  await second.bytes(mib)
  const [got, others] = [second.socket.bytesRead, first.socket.bytesRead - before]
  t.ok(others > got * 0.6 && others < got * 1.6, `${others} beside ${got}`)
})

test('egress: a manifest is answered while blobs wait', async t => {
  const { served, pull } = await setUp(t)
  const { manifest } = await pushImage(served, 'a', 'v1')
  const wires = [await pull(), await pull()]
  for (const wire of wires) await wire.bytes(1000)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
  for (const wire of wires) t.ok(wire.socket.bytesRead < 4 * mib, 'the blob is not there yet')
})

test('egress: a limited blob arrives whole, and the metrics count the wait', async t => {
  const { served, digest } = await setUp(t)
  const wait = () => metric(served, 'registry_limit_wait_seconds_total', '{limit="egress"}')
  t.equal(await wait(), 0)
  t.equal(digestOf((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body), digest)
  t.ok(Number(await wait()) > 0)
})

test('egress: without limits the metrics count none', async t => {
  const served = await serve(t)
  t.equal(await metric(served, 'registry_limit_wait_seconds_total', '{limit="egress"}'), undefined)
})
