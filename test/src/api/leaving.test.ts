import { type Test, test } from 'tap'
import { ask, bytesOf, digestOf, metric, openFiles, pushBlob, type Served, serve, startSession, until } from '../support.ts'
import { Wire } from './wire.ts'

const bytes = bytesOf(24 * 1024 * 1024)

async function setUp(t: Test) {
  const served = await serve(t)
  return { served, digest: await pushBlob(served, 'a', bytes) }
}

/** Waits until no request is running and no file is open. */
async function rests(served: Served): Promise<void> {
  await until(async () => (await metric(served, 'registry_requests_running')) === 0)
  await until(async () => (await openFiles(served.root)).length === 0)
}

/** Requests the blob, reads its beginning, and pauses the socket. */
async function half(t: Test, served: Served, digest: string): Promise<Wire> {
  const wire = await Wire.dial(t, served.listen)
  wire.head(`GET /v2/a/blobs/${digest}`)
  await wire.bytes(100_000)
  wire.socket.pause()
  await until(async () => (await openFiles(served.root)).length > 0)
  return wire
}

for (const [what, leave] of [
  ['closes', (wire: Wire) => void wire.socket.destroy()],
  ['resets', (wire: Wire) => void wire.socket.resetAndDestroy()]
] as const) {
  test(`end-2 GET: a client that ${what} half-way leaves no file open and no request running`, async t => {
    const { served, digest } = await setUp(t)
    leave(await half(t, served, digest))
    await rests(served)
    const [line] = served.logged('request').filter(each => each['method'] === 'GET')
    t.match(line, { status: 200, cut: 'client', promised: bytes.length })
    t.ok((line?.['sent'] as number) < bytes.length)
    t.equal(await metric(served, 'registry_http_responses_cut_total', '{cause="client"}'), 1)
  })
}

test('end-2 GET: 24 clients that leave half-way leave nothing behind, and the next one is served whole', async t => {
  const { served, digest } = await setUp(t)
  const wires = await Promise.all(Array.from({ length: 24 }, () => half(t, served, digest)))
  for (const wire of wires) wire.socket.destroy()
  await rests(served)
  t.equal(await metric(served, 'registry_http_responses_cut_total', '{cause="client"}'), 24)
  t.equal(digestOf((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body), digest)
})

test('end-2 GET: a client that leaves with a second request in the pipeline leaves nothing behind', async t => {
  const { served, digest } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.socket.pause()
  wire.head(`GET /v2/a/blobs/${digest}`)
  wire.head(`GET /v2/a/blobs/${digest}`)
  // The second one waits for its turn, with no file.
  await until(async () => (await metric(served, 'registry_requests_running')) === 1)
  wire.socket.destroy()
  await rests(served)
  t.equal(served.logged('request').filter(line => line['method'] === 'GET').length, 1)
})

test('end-2 GET: a client that closes after the range it wanted costs nothing', async t => {
  const { served, digest } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`GET /v2/a/blobs/${digest}`, ['Range: bytes=1000000-'])
  await wire.bytes(200_000)
  wire.socket.destroy()
  await rests(served)
  t.equal(served.lines.filter(line => line.level >= 50).length, 0, 'no error of ours')
})

test('end-2 GET: bytes that are no request, sent while the blob is, never become a part of it', async t => {
  const { served, digest } = await setUp(t)
  const wire = await half(t, served, digest)
  await wire.send('\0 this is not HTTP\r\n\r\n')
  await rests(served)
  wire.socket.resume()
  const received = await wire.end()
  const body = received.subarray(received.indexOf('\r\n\r\n') + 4)
  t.ok(body.length < bytes.length, 'it is short, and the client can tell')
  t.ok(body.equals(bytes.subarray(0, body.length)))
})

test('end-5 PATCH: a client that leaves half-way leaves no file open, and the session stays', async t => {
  const { served } = await setUp(t)
  const location = await startSession(served, 'a')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, [`Content-Length: ${bytes.length}`])
  await wire.send(bytes.subarray(0, 10_000_000))
  await until(async () => (await ask(served.listen, 'GET', location)).headers.range === '0-9999999')
  wire.socket.resetAndDestroy()
  await rests(served)
  t.equal(await metric(served, 'registry_uploads_open', '{state="writing"}'), 0)
  t.equal((await ask(served.listen, 'GET', location)).headers.range, '0-9999999')
  t.match(
    served.logged('request').find(line => line['method'] === 'PATCH'),
    { cut: 'client', received: 10_000_000 }
  )
})

test('end-3 GET: a client that leaves before its answer is no error of ours', async t => {
  const { served } = await setUp(t)
  for (let round = 0; round < 20; round++) {
    const wire = await Wire.dial(t, served.listen)
    wire.head('GET /v2/a/tags/list')
    wire.socket.resetAndDestroy()
  }
  t.equal((await ask(served.listen, 'GET', '/v2/')).status, 200)
  await rests(served)
  t.equal(served.lines.filter(line => line.level >= 50).length, 0)
})
