import { test } from 'tap'
import { ask, basicOf, bytesOf, digestOf, guarded, imageType, serve, startSession } from '../support.ts'
import { Wire } from './wire.ts'

const bytes = bytesOf(100_000)
const digest = digestOf(bytes)
const basic = (user: string) => `Authorization: ${basicOf(user)}`
const large = 64 * 1024 * 1024

/** Sends a body as fast as it is taken until the connection ends; gives the answer that came meanwhile. */
async function sendAll(wire: Wire, head: string, fields: string[], length: number) {
  wire.head(head, [...fields, `Content-Length: ${length}`])
  const piece = Buffer.alloc(1024 * 1024)
  const answer = wire.answer()
  for (let sent = 0; sent < length && !wire.socket.destroyed; sent += piece.length) {
    await wire.send(piece)
  }
  return await answer
}

test('Expect: 100-continue: a client without rights gets 401 and never a 100', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const wire = await Wire.dial(t, served.listen)
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digest}`, ['Content-Length: 100000', 'Expect: 100-continue'])
  const { status, headers } = await wire.answer()
  t.equal(status, 401)
  t.match(headers, { connection: 'close', 'www-authenticate': /^Basic / })
  await wire.end()
})

test('Expect: 100-continue: a client that may only pull gets 403 and never a 100', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PUT /v2/a/manifests/v1`, ['Content-Length: 100', 'Expect: 100-continue', basic('ro')])
  t.equal((await wire.answer()).status, 403)
  await wire.end()
})

for (const [what, head] of [
  ['an unknown session', `PATCH /v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000`],
  ['a bad digest', `POST /v2/a/blobs/uploads/?digest=md5:1`],
  ['a bad name', `POST /v2/A/blobs/uploads/?digest=${digest}`],
  ['an unknown path', 'PUT /v2/x']
] as const) {
  test(`Expect: 100-continue: ${what} is answered without a 100, and the connection ends`, async t => {
    const { listen } = await serve(t)
    const wire = await Wire.dial(t, listen)
    wire.head(head, ['Content-Length: 100', 'Expect: 100-continue'])
    const { status, headers } = await wire.answer()
    t.ok([400, 404].includes(status), `${status}`)
    t.equal(headers['connection'], 'close')
    await wire.end()
  })
}

test('Expect: 100-continue: a body that no disk has room for answers 507 without a 100, and the session is cancelled', async t => {
  const served = await serve(t)
  const location = await startSession(served, 'a')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, [`Content-Length: ${2 ** 60}`, 'Expect: 100-continue'])
  const { status, body } = await wire.answer()
  t.equal(status, 507)
  t.match(JSON.parse(body.toString()), { errors: [{ code: 'INSUFFICIENT_STORAGE', detail: { reason: /no space is left/ } }] })
  await wire.end()
  t.equal((await ask(served.listen, 'GET', location)).status, 404)
})

test('Expect: 100-continue: a client that may push gets the 100, sends, gets 201, and the connection stays', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const wire = await Wire.dial(t, served.listen)
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digest}`, ['Content-Length: 100000', 'Expect: 100-continue', basic('rw')])
  t.equal((await wire.answer('head')).status, 100)
  wire.socket.write(bytes)
  const { status, headers } = await wire.answer()
  t.equal(status, 201)
  t.not(headers['connection'], 'close')
  wire.head('GET /v2/', [basic('rw')])
  t.equal((await wire.answer()).status, 200)
})

test('Expect: 100-continue: a manifest gets its 100 too', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head('PUT /v2/a/manifests/v1', [`Content-Type: ${imageType}`, 'Content-Length: 2', 'Expect: 100-continue'])
  t.equal((await wire.answer('head')).status, 100)
  wire.socket.write('{}')
  t.equal((await wire.answer()).status, 400)
})

test('Expect: 100-continue: a manifest past the limit answers 413 without a 100', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head('PUT /v2/a/manifests/v1', [`Content-Type: ${imageType}`, 'Content-Length: 4194305', 'Expect: 100-continue'])
  t.equal((await wire.answer()).status, 413)
  await wire.end()
})

test('Expect: 100-continue: a POST that wants no body answers 202 and ends the connection', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head('POST /v2/a/blobs/uploads/', ['Content-Length: 5', 'Expect: 100-continue'])
  t.match(await wire.answer(), { status: 202, headers: { connection: 'close' } })
  await wire.end()
})

test('a client that sends 64 MiB without rights reads the 401, and the connection ends', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const wire = await Wire.dial(t, served.listen)
  const { status, headers, body } = await sendAll(wire, `POST /v2/a/blobs/uploads/?digest=${digest}`, [], large)
  t.equal(status, 401)
  t.equal(headers['connection'], 'close')
  t.equal(JSON.parse(body.toString()).errors[0].code, 'UNAUTHORIZED')
  await wire.end()
})

test('a client that sends 64 MiB as a manifest reads the 413, and the connection ends', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  const { status, headers } = await sendAll(wire, 'PUT /v2/a/manifests/v1', [`Content-Type: ${imageType}`], large)
  t.equal(status, 413)
  t.equal(headers['connection'], 'close')
  await wire.end()
})

test('a client that sends 64 MiB to an unknown session reads the 404, and the connection ends', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  const { status } = await sendAll(wire, 'PATCH /v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000', [], large)
  t.equal(status, 404)
  await wire.end()
})

test('a small body that is refused does not cost the connection', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const wire = await Wire.dial(t, served.listen)
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digest}`, ['Content-Length: 100000'])
  wire.socket.write(bytes)
  t.equal((await wire.answer()).status, 401)
  wire.head('GET /v2/', [basic('ro')])
  t.equal((await wire.answer()).status, 200)
})

test('the body that follows a refused head is not taken for a request', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  const smuggled = 'DELETE /v2/a/manifests/v1 HTTP/1.1\r\nHost: r\r\n\r\n'
  wire.head('PATCH /v2/A/x', [`Content-Length: ${smuggled.length}`])
  wire.socket.write(smuggled)
  t.equal((await wire.answer()).status, 404)
  wire.head('GET /v2/')
  t.equal((await wire.answer()).status, 200)
  t.equal(wire.waiting.length, 0)
})

test('Content-Length together with Transfer-Encoding is refused', async t => {
  const { listen } = await serve(t)
  const wire = await Wire.dial(t, listen)
  wire.head('POST /v2/a/blobs/uploads/', ['Content-Length: 5', 'Transfer-Encoding: chunked'])
  t.equal((await wire.answer()).status, 400)
  await wire.end()
})
