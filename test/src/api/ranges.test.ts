import { type Test, test } from 'tap'
import { type Answer, ask, bytesOf, codeOf, oneConnection, pushBlob, serve } from '../support.ts'

const bytes = bytesOf(4096)

async function setUp(t: Test) {
  const served = await serve(t)
  const digest = await pushBlob(served, 'a', bytes)
  const get = (headers: Record<string, string>): Promise<Answer> => ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers })
  return { served, digest, get }
}

const satisfied: [range: string, first: number, last: number][] = [
  ['bytes=0-0', 0, 0],
  ['bytes=500-1499', 500, 1499],
  ['bytes=500-', 500, 4095],
  ['bytes=-500', 3596, 4095],
  ['bytes=2000-5000', 2000, 4095],
  ['bytes=-10000', 0, 4095],
  ['BYTES=1-2', 1, 2],
  ['bytes=4095-99999999999999999999', 4095, 4095]
]
for (const [range, first, last] of satisfied) {
  test(`end-2 GET: ${range} of 4096 bytes answers 206 with ${first}-${last}`, async t => {
    const { get } = await setUp(t)
    const { status, headers, body } = await get({ range })
    t.equal(status, 206)
    t.match(headers, { 'content-range': `bytes ${first}-${last}/4096`, 'content-length': String(last - first + 1) })
    t.ok(body.equals(bytes.subarray(first, last + 1)))
  })
}

for (const range of ['bytes=-0', 'bytes=500-0', 'bytes=5000-10000', 'bytes=4096-', 'bytes=99999999999999999999-']) {
  test(`end-2 GET: ${range} of 4096 bytes answers 416 with the size`, async t => {
    const { get } = await setUp(t)
    const answer = await get({ range })
    t.equal(answer.status, 416)
    t.equal(answer.headers['content-range'], 'bytes */4096')
    t.equal(codeOf(answer), 'SIZE_INVALID')
  })
}

const ten = `bytes=${Array.from({ length: 10 }, (_each, at) => `${at * 10}-${at * 10 + 5}`).join(',')}`
for (const range of [ten, 'bytes=', 'bytes=-', 'bytes=a-b', 'bytes=1', 'items=0-5', '0-5', 'bytes=0x1-0x2', 'bytes=1-2-3', 'bytes=--5']) {
  test(`end-2 GET: ${range.slice(0, 24)} is ignored and the whole blob is the answer`, async t => {
    const { get } = await setUp(t)
    const { status, headers, body } = await get({ range })
    t.equal(status, 200)
    t.notOk(headers['content-range'])
    t.ok(body.equals(bytes))
  })
}

test('end-2 GET: a range of the empty blob answers 416', async t => {
  const { served } = await setUp(t)
  const empty = await pushBlob(served, 'a', Buffer.alloc(0))
  const { status, headers } = await ask(served.listen, 'GET', `/v2/a/blobs/${empty}`, { headers: { range: 'bytes=0-' } })
  t.strictSame([status, headers['content-range']], [416, 'bytes */0'])
})

test('end-2 GET: the empty blob is a 200 without a byte', async t => {
  const { served } = await setUp(t)
  const empty = await pushBlob(served, 'a', Buffer.alloc(0))
  const { status, headers, body } = await ask(served.listen, 'GET', `/v2/a/blobs/${empty}`)
  t.strictSame([status, headers['content-length'], body.length], [200, '0', 0])
})

test('end-2 GET: If-Range with the entity tag lets the range be answered', async t => {
  const { get, digest } = await setUp(t)
  t.equal((await get({ range: 'bytes=0-9', 'if-range': `"${digest}"` })).status, 206)
})

for (const [what, of] of [
  ['another entity tag', () => '"sha256:0"'],
  ['a weak entity tag', (digest: string) => `W/"${digest}"`],
  ['a date', () => 'Wed, 21 Oct 2026 07:28:00 GMT']
] as const) {
  test(`end-2 GET: If-Range with ${what} answers the whole blob`, async t => {
    const { get, digest } = await setUp(t)
    const { status, body } = await get({ range: 'bytes=0-9', 'if-range': of(digest) })
    t.equal(status, 200)
    t.ok(body.equals(bytes))
  })
}

for (const [what, of] of [
  ['the entity tag', (digest: string) => `"${digest}"`],
  ['its weak form', (digest: string) => `W/"${digest}"`],
  ['it among others', (digest: string) => `"x", "${digest}"`],
  ['any', () => '*']
] as const) {
  test(`end-2 GET: If-None-Match with ${what} answers 304 without a body and without a length`, async t => {
    const { get, digest } = await setUp(t)
    const { status, headers, body } = await get({ 'if-none-match': of(digest) })
    t.equal(status, 304)
    t.equal(headers.etag, `"${digest}"`)
    t.notOk('content-length' in headers, 'it would be that of the blob')
    t.equal(body.length, 0)
  })
}

test('end-2 GET: If-None-Match that matches comes before Range', async t => {
  const { get, digest } = await setUp(t)
  t.equal((await get({ 'if-none-match': `"${digest}"`, range: 'bytes=9999-' })).status, 304)
})

test('end-2 GET: If-None-Match with another entity tag answers the blob', async t => {
  const { get } = await setUp(t)
  const { status, body } = await get({ 'if-none-match': '"sha256:0"' })
  t.equal(status, 200)
  t.ok(body.equals(bytes))
})

test('end-2 GET: after a 416 and a 304 the connection serves the next request', async t => {
  const { served, digest } = await setUp(t)
  const agent = oneConnection(t)
  const path = `/v2/a/blobs/${digest}`
  const ports = new Set<number | undefined>()
  agent.on('free', socket => ports.add(socket.localPort))
  t.equal((await ask(served.listen, 'GET', path, { agent, headers: { range: 'bytes=5000-' } })).status, 416)
  t.equal((await ask(served.listen, 'GET', path, { agent, headers: { 'if-none-match': '*' } })).status, 304)
  t.ok((await ask(served.listen, 'GET', path, { agent })).body.equals(bytes))
  t.equal(ports.size, 1, 'one connection')
})
