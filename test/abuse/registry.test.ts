// The attack, with the right to pull: one connection pipelined thousands of GETs. In Direct before an upstream that was
// silent each became a request to it, until the process was out of memory; in Local each had its blob opened, 6,659 files
// for two connections. In Proxy clients that asked for one manifest and left went on waiting for upstream.
import { test } from 'tap'
import { behind, prefix, serveModes } from '../modes/scene.ts'
import { Wire } from '../src/api/wire.ts'
import { ask, bytesOf, metric, openFiles, pushBlob, type Served, serve, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { flood, pipelined, settle } from './attack.ts'

const padding = `X: ${'a'.repeat(900)}`
const running = (served: Served) => metric(served, 'registry_requests_running')

test('Direct before a silent upstream: of a pipelining connection one request is under way', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const silence = Promise.withResolvers<void>()
  upstream.faults.headerDelay = silence.promise
  const path = `/v2/${prefix.here}/app/manifests/v1`
  const wire = await flood(t, served.listen, pipelined(5_000, `GET ${path}`, [padding]))
  await until(() => upstream.requests.length > 0)
  await settle(async () => t.equal((await ask(served.listen, 'GET', '/v2/')).status, 200))
  t.equal(upstream.count('/manifests/v1'), 1)
  t.equal(await running(served), 1)
  wire.socket.destroy()
  silence.resolve()
  await until(async () => (await running(served)) === 0)
})

test('Local: of a pipelining connection that reads nothing one blob is open', async t => {
  const served = await serve(t)
  const bytes = bytesOf(16 * 1024 * 1024)
  const digest = await pushBlob(served, 'a', bytes)
  const wires = await Promise.all(
    Array.from({ length: 2 }, async () => {
      const wire = await Wire.dial(t, served.listen)
      wire.socket.pause()
      wire.socket.write(pipelined(8_000, `GET /v2/a/blobs/${digest}`, [padding]))
      return wire
    })
  )
  await until(async () => (await running(served)) === 2)
  await settle(async () => t.equal((await ask(served.listen, 'HEAD', `/v2/a/blobs/${digest}`)).status, 200))
  t.equal((await openFiles(served.root)).length, 2)
  t.equal(await running(served), 2)
  for (const wire of wires) wire.socket.destroy()
  await until(async () => (await running(served)) === 0)
  t.equal((await openFiles(served.root)).length, 0)
})

test('Direct before a silent upstream: of many pipelining connections those with the most are closed, which the log says', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const silence = Promise.withResolvers<void>()
  upstream.faults.headerDelay = silence.promise
  const line = `GET /v2/${prefix.here}/app/manifests/v1`
  const wires = await Promise.all(Array.from({ length: 16 }, () => flood(t, served.listen, pipelined(2_000, line))))
  const message = 'a connection was closed: it pipelined too many requests'
  await until(() => served.logged(message).length > 0)
  t.match(served.logged(message)[0], { address: '127.0.0.1' })
  t.equal((await ask(served.listen, 'GET', '/v2/')).status, 200)
  for (const wire of wires) wire.socket.destroy()
  silence.resolve()
  await until(async () => (await running(served)) === 0)
})

test('Proxy before a silent upstream: clients that leave do not go on waiting for a manifest', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const silence = Promise.withResolvers<void>()
  upstream.faults.headerDelay = silence.promise
  const path = `/v2/${prefix.here}/app/manifests/v1`
  const wires = await Promise.all(Array.from({ length: 50 }, () => flood(t, served.listen, pipelined(1, `GET ${path}`))))
  await until(async () => (await running(served)) === 50)
  for (const wire of wires) wire.socket.destroy()
  await until(async () => (await running(served)) === 0)
  t.equal(upstream.count('/manifests/v1'), 1)
  silence.resolve()
})
