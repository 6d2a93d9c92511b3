// The attack, by an upstream that is reached by `ns=`: a blob with `Content-Length: 100000000000000`, of which no byte
// comes, had the whole cache evicted. The platform's images were gone, and with a dead upstream of their own no pod could
// start. Neither may it be done by blobs that say nothing of their length and have no end, nor by many at once; and a
// slow upstream may not take all fill slots.
import { type Test, test } from 'tap'
import { behind, blobBehind, prefix, serveModes, storedFills } from '../modes/scene.ts'
import { Wire } from '../src/api/wire.ts'
import { ask, bytesOf, digestOf, metric, type Served, until } from '../src/support.ts'
import { startUpstream, type TestUpstream } from '../support/upstream.ts'

const MIB = 1024 * 1024
const budget = 16 * MIB
const [hostile, honest] = ['hostile.test', 'honest.test']

const at = ({ url }: TestUpstream) => ({ scheme: 'HTTP', endpoints: [new URL(url).host] })

/** A Proxy with a full cache: eight MiB of the platform's, and what the namespace `honest` has. */
async function scene(t: Test, settings: { upstream?: Record<string, unknown> } = {}) {
  const [own, bad, good] = [await startUpstream(t), await startUpstream(t), await startUpstream(t)]
  const registry = { ...behind('Proxy', own), upstreams: { [hostile]: at(bad), [honest]: at(good) } }
  const served = await serveModes(t, { registry, storage: { budget: `${budget}` }, ...settings })
  const platform = Array.from({ length: 8 }, () => blobBehind(own, MIB))
  for (const [index, { path }] of platform.entries()) {
    t.equal((await ask(served.listen, 'GET', path)).status, 200)
    await storedFills(served, index + 1)
  }
  const other = good.addBlob('app', bytesOf(3 * MIB))
  t.equal((await ask(served.listen, 'GET', `/v2/app/blobs/${other}?ns=${honest}`)).status, 200)
  await storedFills(served, 9)
  return { served, own, bad, good, stored: [...platform.map(each => each.path), `/v2/app/blobs/${other}?ns=${honest}`] }
}

/** A request whose response is begun and not read. */
async function begin(t: Test, { listen }: Served, path: string): Promise<Wire> {
  const wire = await Wire.dial(t, listen)
  wire.socket.pause()
  wire.socket.write(`GET ${path} HTTP/1.1\r\nHost: r\r\n\r\n`)
  return wire
}

const evicted = async (served: Served) => (await metric(served, 'registry_cache_evictions_total', '{reason="room",kind="blob"}')) ?? 0
const full = async (served: Served) => (await metric(served, 'registry_fills_total', '{result="full"}')) ?? 0

/** Everything that was stored is served with all upstreams gone. */
async function allStored(t: Test, { served, own, bad, good, stored }: Awaited<ReturnType<typeof scene>>): Promise<void> {
  await Promise.all([own, bad, good].map(each => each.stop()))
  for (const path of stored) {
    const { status, body } = await ask(served.listen, 'GET', path)
    t.strictSame([status, digestOf(body)], [200, /sha256:\w+/.exec(path)?.[0]])
  }
}

for (const declaredBytes of [10 ** 14, budget, 8 * MIB]) {
  test(`a blob that is declared to have ${declaredBytes} bytes, of which few come, evicts nothing`, async t => {
    const made = await scene(t)
    const { served, bad } = made
    const digest = bad.addBlob('app', bytesOf(1_000))
    bad.faults.declaredBytes = declaredBytes
    const wire = await begin(t, served, `/v2/app/blobs/${digest}?ns=${hostile}`)
    wire.socket.resume()
    const { headers } = await wire.answer('head')
    t.match(headers['warning'], /not cached: it does not fit/)
    await until(async () => (await full(served)) === 1)
    const [line] = served.logged('there is no capacity for a blob; clients get it from upstream')
    t.match(line, { digest, upstream: hostile, reason: /bytes/ })
    t.equal(await evicted(served), 0)
    wire.socket.destroy()
    await allStored(t, made)
  })
}

test("a body without a length or an end takes half of its upstream's share at most, and evicts nothing of others", async t => {
  const made = await scene(t)
  const { served, bad } = made
  const digest = bad.addBlob('app', bytesOf(64 * 1024))
  bad.faults.endless = true
  const wire = await begin(t, served, `/v2/app/blobs/${digest}?ns=${hostile}`)
  await until(async () => (await full(served)) === 1)
  const used = await metric(served, 'registry_storage_used_bytes')
  t.ok(used !== undefined && used < 12 * MIB, `${used} bytes are used: the download is gone`)
  t.equal(await evicted(served), 0)
  wire.socket.destroy()
  await allStored(t, made)
})

test('blobs that each fit but not together: as many are cached as fit, all are served, nothing of others is evicted', async t => {
  const made = await scene(t)
  const { served, bad } = made
  const digests = Array.from({ length: 6 }, () => bad.addBlob('app', bytesOf(2 * MIB)))
  const held = Promise.withResolvers<void>()
  bad.faults.hold = { at: MIB, until: held.promise }
  const answers = digests.map(each => ask(served.listen, 'GET', `/v2/app/blobs/${each}?ns=${hostile}`))
  await until(async () => (await full(served)) >= 4)
  held.resolve()
  t.strictSame(
    (await Promise.all(answers)).map(({ status, body }) => [status, digestOf(body)]),
    digests.map(each => [200, each])
  )
  t.equal(await evicted(served), 0)
  await allStored(t, made)
})

test('what is honest and fits the share is cached, also after a lie, and in place of what its upstream had', async t => {
  const made = await scene(t)
  const { served, bad, good } = made
  bad.faults.declaredBytes = 10 ** 14
  const wire = await begin(t, served, `/v2/app/blobs/${bad.addBlob('app', bytesOf(1_000))}?ns=${hostile}`)
  await until(async () => (await full(served)) === 1)
  wire.socket.destroy()
  bad.faults.declaredBytes = undefined
  for (let round = 0, fills = 9; round < 3; round++) {
    for (const [upstream, host] of [
      [bad, hostile],
      [good, honest]
    ] as const) {
      const digest = upstream.addBlob('app', bytesOf(3 * MIB))
      t.equal((await ask(served.listen, 'GET', `/v2/app/blobs/${digest}?ns=${host}`)).headers['warning'], undefined)
      await storedFills(served, ++fills)
    }
  }
  t.ok((await evicted(served)) > 0)
  await made.own.stop()
  for (const path of made.stored.filter(each => each.includes(prefix.here))) t.equal((await ask(served.listen, 'GET', path)).status, 200)
})

test('an upstream whose blobs never come takes all fill slots, and the others are cached all the same', async t => {
  const { served, own, bad } = await scene(t, { upstream: { fills: 6 } })
  const held = Promise.withResolvers<void>()
  t.teardown(() => held.resolve())
  bad.faults.hold = { at: 0, until: held.promise }
  const slow = Array.from({ length: 8 }, () => bad.addBlob('app', bytesOf(1_000)))
  const wires = await Promise.all(slow.map(each => begin(t, served, `/v2/app/blobs/${each}?ns=${hostile}`)))
  await until(async () => (await metric(served, 'registry_fills_refused_total', '{reason="slots"}')) === 2)
  t.equal(await metric(served, 'registry_fills_running'), 6)
  const { path, bytes } = blobBehind(own, 10_000)
  t.ok((await ask(served.listen, 'GET', path)).body.equals(bytes))
  await storedFills(served, 10)
  await own.stop()
  t.ok((await ask(served.listen, 'GET', path)).body.equals(bytes))
  for (const wire of wires) wire.socket.destroy()
})
