import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { ask, bytesOf, digestOf, metric, openFiles, pushBlob, serve, startSession, until } from '../support.ts'
import { Wire } from './wire.ts'

const limits = { minimumRate: { bytes: 1024, per: '1s' } }
const bytes = bytesOf(24 * 1024 * 1024)

async function setUp(t: Test) {
  const served = await serve(t, { limits })
  const cut = (cause: string) => metric(served, 'registry_http_responses_cut_total', `{cause="${cause}"}`)
  return { served, cut }
}

/** Sends pieces well above the minimum rate for several of its periods. */
async function pushSlowly(wire: Wire, location: string, whole: Buffer): Promise<number> {
  wire.head(`PUT ${location}?digest=${digestOf(whole)}`, [`Content-Length: ${whole.length}`])
  for (let at = 0; at < whole.length; at += 4096) {
    await wire.send(whole.subarray(at, at + 4096))
    await sleep(150)
  }
  return (await wire.answer()).status
}

test('end-6 PUT: a slow but steady push passes, however long it takes', async t => {
  const { served } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  t.equal(await pushSlowly(wire, await startSession(served, 'a'), bytesOf(24 * 4096)), 201)
})

test('end-5 PATCH: a push that stalls is closed, the log says so, and the session can go on', async t => {
  const { served } = await setUp(t)
  const location = await startSession(served, 'a')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${location}`, ['Content-Length: 10000'])
  await wire.send('12345')
  await wire.end()
  await until(() => served.logged('request').some(line => line['method'] === 'PATCH'))
  t.match(
    served.logged('request').find(line => line['method'] === 'PATCH'),
    { cut: 'stalled', received: 5 }
  )
  t.equal((await ask(served.listen, 'GET', location)).headers.range, '0-4')
  t.equal((await ask(served.listen, 'PUT', `${location}?digest=${digestOf('1234567')}`, { body: '67' })).status, 201)
})

test('end-7 PUT: a manifest that stalls is closed', async t => {
  const { served } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head('PUT /v2/a/manifests/v1', ['Content-Length: 10000'])
  await wire.send('{')
  await wire.end()
  await until(() => served.logged('request').length > 0)
  t.match(served.logged('request'), [{ cut: 'stalled', route: 'manifest' }])
})

test('end-2 GET: a pull that stalls is closed, with its file', async t => {
  const { served, cut } = await setUp(t)
  const digest = await pushBlob(served, 'a', bytes)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`GET /v2/a/blobs/${digest}`)
  await wire.bytes(1000)
  wire.socket.pause()
  await until(async () => (await cut('stalled')) === 1)
  t.match(served.logged('request').at(-1), { method: 'GET', cut: 'stalled' })
  await until(async () => (await openFiles(served.root)).length === 0)
  t.equal(await metric(served, 'registry_requests_running'), 0)
})

test('end-2 GET: a slow reader gets every byte, and does not keep others from theirs', async t => {
  const { served, cut } = await setUp(t)
  const digest = await pushBlob(served, 'a', bytes)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`GET /v2/a/blobs/${digest}`)
  const reading = wire.answer()
  let others = 0
  while (wire.socket.bytesRead < bytes.length) {
    wire.socket.pause()
    await sleep(100)
    if (others++ < 3) t.equal(digestOf((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body), digest)
    const before = wire.socket.bytesRead
    wire.socket.resume()
    await until(() => wire.socket.bytesRead >= Math.min(before + 3_000_000, bytes.length))
  }
  t.ok((await reading).body.equals(bytes))
  t.equal(await cut('stalled'), undefined)
})

test('a slow push and a slow pull at once both pass', async t => {
  const { served } = await setUp(t)
  const digest = await pushBlob(served, 'a', bytes)
  const [up, down] = [await Wire.dial(t, served.listen), await Wire.dial(t, served.listen)]
  down.head(`GET /v2/a/blobs/${digest}`)
  const pulled = down.answer()
  const pushed = pushSlowly(up, await startSession(served, 'a'), bytesOf(12 * 4096))
  while (down.socket.bytesRead < bytes.length) {
    down.socket.pause()
    await sleep(150)
    down.socket.resume()
    await sleep(5)
  }
  t.equal(await pushed, 201)
  t.ok((await pulled).body.equals(bytes))
})
