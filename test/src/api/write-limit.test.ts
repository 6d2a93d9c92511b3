import { test } from 'tap'
import { ask, bytesOf, digestOf, metric, openFiles, pushImage, serve, startSession, until } from '../support.ts'
import { Wire } from './wire.ts'

const mib = 1024 * 1024
const bytes = bytesOf(8 * mib)

test('write limit: a push that is held back by it is not taken for a slow one, and passes whole', async t => {
  const served = await serve(t, { writeLimit: '2MiB', limits: { minimumRate: { bytes: '16MiB', per: '1s' } } })
  const digest = digestOf(bytes)
  const location = await startSession(served, 'a')
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digest}`, { body: bytes })).status, 201)
  t.equal(digestOf((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body), digest)
  t.ok(Number(await metric(served, 'registry_limit_wait_seconds_total', '{limit="write"}')) > 0)
})

test('write limit: an image of small blobs is pushed while a large blob waits', async t => {
  const served = await serve(t, { writeLimit: '100KiB' })
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${await startSession(served, 'a')}`, [`Content-Length: ${bytes.length}`])
  void wire.send(bytes)
  await until(async () => Number(await metric(served, 'registry_uploads_open', '{state="writing"}')) > 0)
  await pushImage(served, 'b', 'v1')
  t.equal(await metric(served, 'registry_uploads_open', '{state="writing"}'), 1)
})

test('write limit: a client that leaves while it is held back frees its file, and what arrived is kept', async t => {
  const served = await serve(t, { writeLimit: '1KiB' })
  const location = await startSession(served, 'a')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, [`Content-Length: ${bytes.length}`])
  void wire.send(bytes.subarray(0, 3 * mib))
  await until(async () => (await openFiles(served.root)).length > 0)
  wire.socket.destroy()
  await until(async () => (await openFiles(served.root)).length === 0)
  const { headers } = await ask(served.listen, 'GET', location)
  t.ok(Number(headers['upload-offset']) > 0)
})
