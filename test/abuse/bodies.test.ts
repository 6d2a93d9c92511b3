// The attacks, with the right to push: 60 PUTs of manifests without end held 229 MiB, since `limits.uploads` counted
// bodies of upload sessions only. And of any client: a request that is answered without its body, whose body then
// trickles for ever, kept its connection.
import { once } from 'node:events'
import { type Test, test } from 'tap'
import { Wire } from '../src/api/wire.ts'
import { ask, codeOf, digestOf, metric, pushImage, putManifest, serve, startSession, until } from '../src/support.ts'

const MIB = 1024 * 1024

/** PUTs of manifests that do not end, each with so many bytes sent. */
function unfinished(t: Test, listen: string, count: number, bytes: number): Promise<Wire[]> {
  return Promise.all(
    Array.from({ length: count }, async (_each, at) => {
      const wire = await Wire.dial(t, listen)
      wire.head(`PUT /v2/a/manifests/v${at}`, ['Content-Length: 4000000', 'Content-Type: application/json'])
      wire.socket.write(Buffer.alloc(bytes, ' '))
      return wire
    })
  )
}

/** The status of each answer that has come; a PUT that is being received has none. */
const statuses = (wires: readonly Wire[]): number[] =>
  wires.flatMap(({ waiting }) => (waiting.length > 0 ? [Number(waiting.toString('latin1', 9, 12))] : []))

test('bodies: unfinished manifests are bounded in number, others are answered 429, and blobs are still pushed', async t => {
  const served = await serve(t, { limits: { uploads: 4 } })
  const wires = await unfinished(t, served.listen, 60, 1000)
  await until(() => statuses(wires).length >= 56)
  t.equal(statuses(wires).filter(status => status === 429).length, statuses(wires).length)
  const refused = wires.find(wire => wire.waiting.length > 0)
  t.match((await refused?.answer())?.headers['retry-after'], /^\d+$/)
  t.equal((await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })).status, 201)
})

test('bodies: unfinished manifests are bounded in bytes, and one that is pushed meanwhile is taken', async t => {
  const served = await serve(t)
  const wires = await unfinished(t, served.listen, 60, 3_900_000)
  await until(() => statuses(wires).length >= 52)
  t.strictSame([...new Set(statuses(wires))], [429])
  // What fills the memory is old by then, and gives way.
  await until(async () => (await putManifest(served, 'a', 'v', JSON.stringify({ schemaVersion: 2 }))).status !== 429)
  t.match(await pushImage(served, 'a', 'honest'), { digest: String })
  for (const wire of wires) wire.socket.destroy()
  await until(async () => (await metric(served, 'registry_requests_running')) === 0)
})

test('bodies: slow uploads of blobs do not keep manifests from being pushed', async t => {
  const served = await serve(t, { limits: { uploads: 1 } })
  const pushed = await pushImage(served, 'a', 'v1')
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${await startSession(served, 'a')}`, ['Content-Length: 100'])
  await wire.send('abc')
  await until(async () => (await metric(served, 'registry_uploads_open', '{state="writing"}')) === 1)
  t.equal((await putManifest(served, 'a', 'v2', pushed.manifest)).status, 201)
})

test('bodies: a client that leaves while it sends a manifest leaves nothing behind', async t => {
  const served = await serve(t, { limits: { uploads: 1 } })
  for (const leave of ['destroy', 'resetAndDestroy'] as const) {
    const [wire] = await unfinished(t, served.listen, 1, MIB)
    await until(async () => (await metric(served, 'registry_requests_running')) === 1)
    wire?.socket[leave]()
    await until(async () => (await metric(served, 'registry_requests_running')) === 0)
  }
  t.match(await pushImage(served, 'a', 'v1'), { digest: String })
  t.equal(served.lines.filter(line => line.level >= 50).length, 0)
})

const requests = [
  ['GET /v2/a/manifests/v1', 200],
  ['HEAD /v2/a/manifests/v1', 200],
  ['GET /v2/a/tags/list', 200],
  ['POST /v2/a/blobs/uploads/', 202],
  ['DELETE /v2/a/manifests/v2-', 202],
  ['GET /v2/a/manifests/none', 404]
] as const
const framings = [
  ['Content-Length: 100000000', 'a'],
  ['Content-Length: 1000', 'a'],
  ['Transfer-Encoding: chunked', '1\r\na\r\n']
] as const

test('bodies: a request is answered without its body, and one that trickles on ends the connection', async t => {
  const served = await serve(t)
  const { manifest } = await pushImage(served, 'a', 'v1')
  for (const framing of framings.keys()) await putManifest(served, 'a', `v2-${framing}`, manifest)
  const all = requests.flatMap(each => framings.map((framing, at) => [...each, ...framing, at] as const))
  const ends = all.map(async ([given, status, framing, drop, at]) => {
    const line = given.replace('v2-', `v2-${at}`)
    const wire = await Wire.dial(t, served.listen)
    wire.head(line, [framing])
    const answer = await wire.answer(line.startsWith('HEAD') ? 'head' : 'whole')
    t.equal(answer.status, status, `${line} ${framing}`)
    // The connection of a small body is kept, if that arrives.
    t.equal(answer.headers['connection'], framing.endsWith(' 1000') ? 'keep-alive' : 'close', `${line} ${framing}`)
    const closed = once(wire.socket, 'close')
    const drip = setInterval(() => wire.socket.write(drop), 100)
    await closed
    clearInterval(drip)
  })
  await Promise.all(ends)
})

test('bodies: a client that sends what was not asked for reads the whole answer', async t => {
  const served = await serve(t)
  const { manifest } = await pushImage(served, 'a', 'v1')
  const wire = await Wire.dial(t, served.listen)
  wire.head('GET /v2/a/manifests/v1', [`Content-Length: ${4 * MIB}`])
  await wire.send(Buffer.alloc(4 * MIB))
  const answer = await wire.answer()
  t.strictSame([answer.headers['connection'], answer.body.toString()], ['close', manifest])
  await wire.end()
})

test('bodies: a small one that has arrived keeps its connection, and one after Expect is not waited for', async t => {
  const served = await serve(t)
  await pushImage(served, 'a', 'v1')
  const wire = await Wire.dial(t, served.listen)
  wire.head('GET /v2/a/manifests/v1', ['Content-Length: 3', 'X: y\r\n\r\nabcGET /v2/ HTTP/1.1\r\nHost: r'])
  t.equal((await wire.answer()).status, 200)
  t.equal((await wire.answer()).status, 200)
  wire.head('GET /v2/a/manifests/v1', ['Content-Length: 3', 'Expect: 100-continue'])
  const answer = await wire.answer()
  t.strictSame([answer.status, answer.headers['connection']], [200, 'close'])
  await wire.end()
})

test('Host: two fields are 400, whatever they say', async t => {
  const { listen } = await serve(t)
  for (const fields of [['Host: registry'], ['hOST: other'], ['X: y', 'host:']]) {
    const wire = await Wire.dial(t, listen)
    wire.head('GET /v2/', fields)
    const answer = await wire.answer()
    t.equal(answer.status, 400)
    t.match(JSON.parse(answer.body.toString()).errors[0], { code: 'UNSUPPORTED', detail: { reason: /one Host field/ } })
  }
  t.equal(codeOf(await ask(listen, 'GET', '/v2/_x')), 'UNSUPPORTED')
})
