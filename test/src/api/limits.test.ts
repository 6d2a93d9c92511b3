import { type Test, test } from 'tap'
import { ask, bytesOf, codeOf, digestOf, metric, pushBlob, reasonOf, serve, startSession, until } from '../support.ts'
import { Wire } from './wire.ts'

const errorOf = (body: Buffer) => JSON.parse(body.toString()).errors[0]

test('limits.connections: one more is closed without an answer, and counted', async t => {
  const served = await serve(t, { limits: { connections: 2 } })
  const wires = [await Wire.dial(t, served.listen), await Wire.dial(t, served.listen)]
  for (const wire of wires) {
    wire.head('GET /v2/')
    t.equal((await wire.answer()).status, 200)
  }
  const third = await Wire.dial(t, served.listen)
  t.equal((await third.end()).length, 0)
  await until(async () => (await metric(served, 'registry_connections_dropped_total')) === 1)
  t.equal(served.logged('a connection was refused: limits.connections is reached').length, 1)
})

test('limits.connections: when one leaves, the next is served', async t => {
  const served = await serve(t, { limits: { connections: 1 } })
  const first = await Wire.dial(t, served.listen)
  first.head('GET /v2/')
  t.equal((await first.answer()).status, 200)
  first.socket.destroy()
  await until(async () => {
    const next = await Wire.dial(t, served.listen)
    next.head('GET /v2/')
    const status = await next.answer().then(
      answer => answer.status,
      () => 0
    )
    next.socket.destroy()
    return status === 200
  })
  t.pass()
})

async function oneUpload(t: Test) {
  const served = await serve(t, { limits: { uploads: 1 } })
  const location = await startSession(served, 'a')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, ['Content-Length: 6'])
  await wire.send('abc')
  await until(async () => (await metric(served, 'registry_uploads_open', '{state="writing"}')) === 1)
  return { served, location, wire }
}

test('limits.uploads: one more body answers 429 with Retry-After', async t => {
  const { served } = await oneUpload(t)
  const answer = await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })
  t.strictSame([answer.status, codeOf(answer), reasonOf(answer)], [429, 'TOOMANYREQUESTS', 'limits.uploads is reached'])
  t.match(answer.headers['retry-after'], /^\d+$/)
})

test('limits.uploads: requests without a body and pulls go on', async t => {
  const { served, location } = await oneUpload(t)
  await startSession(served, 'a')
  t.equal((await ask(served.listen, 'GET', location)).status, 204)
  t.equal((await ask(served.listen, 'GET', '/v2/_catalog')).status, 200)
})

test('limits.uploads: when one has ended, the next is taken', async t => {
  const { served, wire } = await oneUpload(t)
  await wire.send('def')
  t.equal((await wire.answer()).status, 202)
  t.equal((await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })).status, 201)
})

test('limits.manifestBytes: it is the limit in force', async t => {
  const { listen } = await serve(t, { limits: { manifestBytes: 1024 } })
  const { status, body } = await ask(listen, 'PUT', '/v2/a/manifests/v1', { body: bytesOf(1025) })
  t.equal(status, 413)
  t.equal(errorOf(body).detail.limit, 1024)
})

for (const [what, sent] of [
  ['a head that does not end', 'GET /v2/ HTTP/1.1\r\nHost: r\r\nX: '],
  ['a request line that does not end', 'GET /v'],
  ['nothing at all', '']
] as const) {
  test(`a connection that sends ${what} is answered 408 and closed`, async t => {
    const { listen } = await serve(t, { limits: { minimumRate: { bytes: 1024, per: '1s' } } })
    const wire = await Wire.dial(t, listen)
    wire.socket.write(sent)
    const { status, headers } = await wire.answer()
    t.equal(status, 408)
    t.equal(headers['content-type'], 'application/json')
    await wire.end()
  })
}

test('a head sent byte by byte does not buy time', async t => {
  const { listen } = await serve(t, { limits: { minimumRate: { bytes: 1024, per: '1s' } } })
  const wire = await Wire.dial(t, listen)
  wire.socket.write('GET /v2/ HTTP/1.1\r\nX: ')
  const drip = setInterval(() => wire.socket.write('a'), 50)
  t.teardown(() => clearInterval(drip))
  t.equal((await wire.answer()).status, 408)
  await wire.end()
})

for (const [what, fields] of [
  ['one header of 20 KiB', [`X: ${'a'.repeat(20 * 1024)}`]],
  ['2,000 headers', Array.from({ length: 2000 }, (_each, at) => `X-${at}: aaaa`)]
] as const) {
  test(`${what}: 431 in JSON, and the connection ends`, async t => {
    const { listen } = await serve(t)
    const wire = await Wire.dial(t, listen)
    wire.head('GET /v2/', fields)
    const { status, headers, body } = await wire.answer()
    t.equal(status, 431)
    t.equal(headers['content-type'], 'application/json')
    t.equal(errorOf(body).code, 'UNSUPPORTED')
    await wire.end()
  })
}

for (const [what, sent, status] of [
  ['a method that no parser knows', 'BREW /v2/ HTTP/1.1\r\nHost: r\r\n\r\n', 405],
  ['what is not HTTP', '\x16\x03\x01\x02\x00\x01\x00', 405],
  ['another version', 'GET /v2/ HTTP/3.0\r\nHost: r\r\n\r\n', 400],
  ['a bad header', 'GET /v2/ HTTP/1.1\r\nHost: r\r\nbad header\r\n\r\n', 400],
  ['a bad chunk', 'PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400]
] as const) {
  test(`${what}: ${status} in JSON, and the connection ends`, async t => {
    const { listen } = await serve(t)
    const wire = await Wire.dial(t, listen)
    wire.socket.write(sent, 'latin1')
    const answer = await wire.answer()
    t.equal(answer.status, status)
    t.match(errorOf(answer.body).code, /^[A-Z_]+$/)
    await wire.end()
  })
}

test('after all that, the registry serves', async t => {
  const served = await serve(t)
  for (const garbage of ['\0\0\0\0', 'GET', 'PUT /v2/a/manifests/v1 HTTP/1.1\r\nContent-Length: -1\r\n\r\n', 'a'.repeat(100_000)]) {
    const wire = await Wire.dial(t, served.listen)
    await wire.send(garbage)
    wire.socket.end()
    await wire.end()
  }
  const digest = await pushBlob(served, 'a', bytesOf(10))
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 200)
})
