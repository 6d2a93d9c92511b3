import { rm, truncate } from 'node:fs/promises'
import { type Test, test } from 'tap'
import { ask, bytesOf, dataPath, metric, openFiles, pushBlob, serve, until } from '../support.ts'
import { Wire } from './wire.ts'

const bytes = bytesOf(48 * 1024 * 1024)

/** A client that has read a part of the blob and waits. */
async function setUp(t: Test, fields: string[] = []) {
  const served = await serve(t)
  const digest = await pushBlob(served, 'a', bytes)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`GET /v2/a/blobs/${digest}`, fields)
  await wire.bytes(100_000)
  wire.socket.pause()
  return { served, digest, wire, data: dataPath(served.root, digest) }
}

test('end-2 GET: a file that loses its end while it is sent truncates the response', async t => {
  const { served, wire, data } = await setUp(t)
  await truncate(data, 20_000_000)
  wire.socket.resume()
  const received = await wire.end()
  const start = received.indexOf('\r\n\r\n') + 4
  t.match(received.subarray(0, start).toString(), `Content-Length: ${bytes.length}`.toLowerCase())
  t.ok(received.length - start <= 20_000_000)
  t.ok(received.subarray(start).equals(bytes.subarray(0, received.length - start)), 'what came is true')
  await until(() => served.logged('request failed').length > 0)
  t.match(served.logged('request failed'), [{ level: 50, route: 'blob', status: 200, cut: 'source', err: { message: /the source ended/ } }])
  t.equal(await metric(served, 'registry_http_responses_cut_total', '{cause="source"}'), 1)
  await until(async () => (await openFiles(served.root)).length === 0)
})

test('end-2 GET: after an error of the source, the next request gets the present state', async t => {
  const { served, digest, wire, data } = await setUp(t)
  await truncate(data, 20_000_000)
  wire.socket.resume()
  await wire.end()
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
})

test('end-2 GET: a range of a file that loses its end is truncated as well', async t => {
  const { wire, data } = await setUp(t, ['Range: bytes=1000-'])
  await truncate(data, 20_000_000)
  wire.socket.resume()
  const received = await wire.end()
  const start = received.indexOf('\r\n\r\n') + 4
  t.match(received.subarray(0, start).toString(), /^HTTP\/1.1 206 /)
  t.ok(received.subarray(start).equals(bytes.subarray(1000, 1000 + received.length - start)))
  t.ok(received.length - start < bytes.length - 1000)
})

test('end-2 GET: a file that is removed while it is sent is sent to its end', async t => {
  const { wire, data } = await setUp(t)
  await rm(data)
  wire.socket.resume()
  t.ok((await wire.answer()).body.equals(bytes))
})

test('end-10 DELETE: a blob that is deleted while it is sent is sent to its end', async t => {
  const { served, digest, wire } = await setUp(t)
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/blobs/${digest}`)).status, 202)
  wire.socket.resume()
  t.ok((await wire.answer()).body.equals(bytes))
})

test('end-6 PUT: a blob that is pushed again while it is sent is sent to its end', async t => {
  const { served, wire } = await setUp(t)
  await pushBlob(served, 'a', bytes)
  wire.socket.resume()
  t.ok((await wire.answer()).body.equals(bytes))
})
