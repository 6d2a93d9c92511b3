import { truncate } from 'node:fs/promises'
import { type Test, test } from 'tap'
import { ask, bytesOf, codeOf, dataPath, digestOf, pushBlob, type Served, serve, startSession, until } from '../support.ts'
import { Wire } from './wire.ts'

const bytes = bytesOf(10_000)
const digest = digestOf(bytes)

async function setUp(t: Test) {
  const served = await serve(t)
  const location = await startSession(served, 'a')
  const chunk = (method: string, from: number, to: number, range: string | undefined = `${from}-${to - 1}`) =>
    ask(served.listen, method, method === 'PUT' ? `${location}?digest=${digest}` : location, {
      body: bytes.subarray(from, to),
      headers: range === '' ? {} : { 'content-range': range }
    })
  return { served, location, chunk }
}

const stands = async ({ listen }: Served, location: string): Promise<string | undefined> =>
  (await ask(listen, 'GET', location)).headers.range

test('end-5 PATCH: chunks in order, each answered with 202, Location and Range, and the last with the PUT', async t => {
  const { location, chunk } = await setUp(t)
  const first = await chunk('PATCH', 0, 3000)
  t.strictSame([first.status, first.headers.location, first.headers.range], [202, location, '0-2999'])
  t.equal((await chunk('PATCH', 3000, 6000)).headers.range, '0-5999')
  t.equal((await chunk('PUT', 6000, 10_000)).status, 201)
})

test('end-5 PATCH: without Content-Range the body is appended', async t => {
  const { served, location, chunk } = await setUp(t)
  t.equal((await chunk('PATCH', 0, 5000, '')).headers.range, '0-4999')
  t.equal((await chunk('PATCH', 5000, 10_000, '')).headers.range, '0-9999')
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digest}`)).status, 201)
})

test('end-5 PATCH: a body in Transfer-Encoding chunked of unknown length is appended', async t => {
  const { served, location } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, ['Transfer-Encoding: chunked'])
  wire.socket.write('5\r\nhello\r\n0\r\n\r\n')
  t.match(await wire.answer(), { status: 202, headers: { range: '0-4' } })
})

for (const [what, from] of [
  ['leaves a gap', 6000],
  ['was there already', 0]
] as const) {
  for (const method of ['PATCH', 'PUT']) {
    test(`end-5 ${method}: a chunk that ${what} answers 416 with the Range that stands, and the session goes on`, async t => {
      const { served, location, chunk } = await setUp(t)
      await chunk('PATCH', 0, 3000)
      const answer = await chunk(method, from, from + 2000)
      t.equal(answer.status, 416)
      t.equal(answer.headers.range, '0-2999')
      t.equal(codeOf(answer), 'BLOB_UPLOAD_INVALID')
      t.equal(await stands(served, location), '0-2999')
      t.equal((await chunk('PUT', 3000, 10_000)).status, 201)
    })
  }
}

for (const range of ['0-5000', '0-10', '0-9999/*']) {
  test(`end-5 PATCH: Content-Range ${range} with a Content-Length of 3000 answers 400 SIZE_INVALID, and the session stands`, async t => {
    const { served, location, chunk } = await setUp(t)
    const answer = await chunk('PATCH', 0, 3000, range)
    t.strictSame([answer.status, codeOf(answer)], [400, 'SIZE_INVALID'])
    t.equal(await stands(served, location), '0-0')
    t.equal((await chunk('PUT', 0, 10_000)).status, 201)
  })
}

for (const range of ['x', '5-2', '-5', '0-', 'bytes 0-', '0-5,6-9', '99999999999999999999-99999999999999999999']) {
  test(`end-5 PATCH: Content-Range ${range} answers 400 and the session stands`, async t => {
    const { served, location, chunk } = await setUp(t)
    const answer = await chunk('PATCH', 0, 3000, range)
    t.strictSame([answer.status, codeOf(answer)], [400, 'BLOB_UPLOAD_INVALID'])
    t.equal(await stands(served, location), '0-0')
  })
}

const streamed: [what: string, body: string][] = [
  ['goes on past', '6\r\n123456\r\n0\r\n\r\n'],
  ['ends before', '4\r\n1234\r\n0\r\n\r\n']
]
for (const [what, body] of streamed) {
  test(`end-5 PATCH: a chunked body that ${what} its Content-Range answers 400 SIZE_INVALID and is taken back`, async t => {
    const { served, location, chunk } = await setUp(t)
    await chunk('PATCH', 0, 3000)
    const wire = await Wire.dial(t, served.listen)
    wire.head(`PATCH ${location}`, ['Transfer-Encoding: chunked', 'Content-Range: 3000-3004'])
    wire.socket.write(body)
    const { status, body: answered } = await wire.answer()
    t.equal(status, 400)
    t.equal(JSON.parse(answered.toString()).errors[0].code, 'SIZE_INVALID')
    t.equal(await stands(served, location), '0-2999')
    t.equal((await chunk('PUT', 3000, 10_000)).status, 201)
  })
}

for (const [what, chunked] of [
  ['a Content-Length', false],
  ['Transfer-Encoding chunked', true]
] as const) {
  test(`end-5 PATCH: a connection that is cut with ${what} leaves what arrived, and the session goes on from there`, async t => {
    const { served, location, chunk } = await setUp(t)
    const wire = await Wire.dial(t, served.listen)
    wire.head(`PATCH ${location}`, [chunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 10000'])
    if (chunked) wire.socket.write('fa0\r\n')
    wire.socket.write(bytes.subarray(0, 4000))
    await until(async () => (await stands(served, location)) === '0-3999')
    wire.socket.destroy()
    await until(() => served.logged('request').some(line => line['method'] === 'PATCH'))
    t.equal(await stands(served, location), '0-3999')
    t.equal((await chunk('PUT', 4000, 10_000)).status, 201)
    t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
  })
}

test('end-6 PUT: a connection that is cut in the last chunk publishes nothing, and the session goes on', async t => {
  const { served, location, chunk } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PUT ${location}?digest=${digest}`, ['Content-Length: 10000'])
  wire.socket.write(bytes.subarray(0, 4000))
  await until(async () => (await stands(served, location)) === '0-3999')
  wire.socket.destroy()
  await until(() => served.logged('request').some(line => line['method'] === 'PUT'))
  t.equal((await ask(served.listen, 'HEAD', `/v2/a/blobs/${digest}`)).status, 404)
  t.equal((await chunk('PUT', 4000, 10_000)).status, 201)
})

test('end-4b POST: a connection that is cut leaves nothing behind', async t => {
  const served = await serve(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`POST /v2/a/blobs/uploads/?digest=${digest}`, ['Content-Length: 10000'])
  wire.socket.write(bytes.subarray(0, 4000))
  await until(async () => (await ask(served.admin, 'GET', '/metrics')).body.includes('registry_uploads_open{state="open"} 1'))
  wire.socket.destroy()
  await until(async () => (await ask(served.admin, 'GET', '/metrics')).body.includes('registry_uploads_open{state="open"} 0'))
  t.equal((await ask(served.listen, 'HEAD', `/v2/a/blobs/${digest}`)).status, 404)
})

test('end-5 PATCH: a body past its Content-Length answers 400 SIZE_INVALID, ends the connection, and publishes nothing', async t => {
  const { served, location } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.socket.write(`PATCH ${location} HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\n\r\n12345678`)
  const { status, body } = await wire.answer()
  t.equal(status, 400)
  t.equal(JSON.parse(body.toString()).errors[0].code, 'SIZE_INVALID')
  await wire.end()
  t.match(await stands(served, location), /^0-[04]$/, 'no byte past the declared ones')
  t.equal((await ask(served.listen, 'DELETE', location)).status, 204)
})

test('end-5 PATCH: a second request to a session waits for the first and goes on behind it', async t => {
  const { served, location } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, ['Content-Length: 6'])
  wire.socket.write('abc')
  await until(async () => (await ask(served.admin, 'GET', '/metrics')).body.includes('registry_uploads_open{state="writing"} 1'))
  const second = ask(served.listen, 'PATCH', location, { body: 'ghi' })
  await until(async () => (await ask(served.admin, 'GET', '/metrics')).body.includes('registry_uploads_open{state="writing"} 2'))
  wire.socket.write('def')
  t.equal((await wire.answer()).headers['range'], '0-5')
  t.equal((await second).headers.range, '0-8')
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digestOf('abcdefghi')}`)).status, 201)
})

test('end-6 PUT: pushing a digest whose stored file is damaged heals it', async t => {
  const { served } = await setUp(t)
  await pushBlob(served, 'a', bytes)
  await truncate(dataPath(served.root, digest), 17)
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
  await pushBlob(served, 'a', bytes)
  t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
})
