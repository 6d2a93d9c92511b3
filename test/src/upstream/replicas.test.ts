import { randomBytes } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import type { ReplicaPolicy, UpstreamEvent } from '../../../src/upstream/upstream.ts'
import { startUpstream, UpstreamContent } from '../../support/upstream.ts'
import { until } from '../support.ts'
import { clientOf, errorOf, never, read, ref, served } from './ask.ts'

// A replica that is frozen (SIGSTOP) or cut off accepts connections, or keeps those that it has, and says nothing.

const name = 'system/app'

/** In the order of the settings. */
function inTurn(more: Partial<ReplicaPolicy> = {}): ReplicaPolicy {
  const order: ReplicaPolicy['order'] = states => [...states].sort((a, b) => Number(b.healthy) - Number(a.healthy)).map(each => each.url)
  // Beside a loaded machine a server that works may take a second.
  return { order, hedgeAfterMs: () => 60_000, silenceMs: 100, probeMs: 5_000, onWrong: () => {}, ...more }
}

/** A server that accepts connections and never answers. */
async function silent(t: Test): Promise<{ url: string; accepted: () => number }> {
  const sockets = new Set<Socket>()
  const server: Server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const each of sockets) each.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, accepted: () => sockets.size }
}

const kinds = (events: readonly UpstreamEvent[], type: UpstreamEvent['type']) => events.filter(each => each.type === type)

test('a replica that does not answer costs a hedge, then none: it is known not to', async t => {
  const frozen = await silent(t)
  const replica = await startUpstream(t)
  const image = replica.addImage(name, 'v1')
  let hedgeAfterMs = 20
  const { upstream, events } = clientOf(t, [frozen, replica], {
    hooks: { replicas: inTurn({ hedgeAfterMs: () => hedgeAfterMs, probeMs: 1_000 }) }
  })
  t.equal((await served(upstream.statManifest(name, ref('v1'), never()))).digest, image.digest)
  t.equal(kinds(events, 'hedge').length, 1)
  hedgeAfterMs = 60_000
  const missed = () => kinds(events, 'probe').filter(each => 'result' in each && each.result === 'failed')
  await until(async () => {
    await upstream.probe(1e9)
    return missed().length >= 3
  })
  const asked = frozen.accepted()
  for (const reference of ['v1', image.digest]) await upstream.getManifest(name, ref(reference), { signal: never() })
  t.equal(kinds(events, 'hedge').length, 1, 'the healthy one is asked first')
  const unknown = await errorOf(upstream.statManifest(name, ref('absent'), never()))
  t.same([unknown.kind, unknown.message], ['unreachable', `${new URL(frozen.url).host} does not answer`], 'absent cannot be told')
  t.equal(frozen.accepted(), asked, 'and nothing was sent to the frozen one')
})

test('where no replica answers the request ends after two probes, and later ones at once', async t => {
  const [one, other] = [await silent(t), await silent(t)]
  const { upstream } = clientOf(t, [one, other], { hooks: { replicas: inTurn({ hedgeAfterMs: () => 20, probeMs: 200 }) } })
  t.equal((await errorOf(upstream.statManifest(name, ref('v1'), never()))).kind, 'timeout')
  for (let probes = 0; probes < 3; probes++) await upstream.probe(1e9)
  const asked = one.accepted() + other.accepted()
  t.equal((await errorOf(upstream.statManifest(name, ref('v1'), never()))).kind, 'unreachable')
  t.equal(one.accepted() + other.accepted(), asked)
})

test('a body that falls silent goes on at another replica, and the bytes are those of the blob', async t => {
  const content = new UpstreamContent()
  const [one, other] = [await startUpstream(t, { content }), await startUpstream(t, { content })]
  const bytes = randomBytes(400_000)
  const digest = parseDigest(one.addBlob(name, bytes))
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  t.teardown(() => release())
  one.faults.hold = { at: 100_000, until: held }
  const { upstream, events } = clientOf(t, [one, other], { hooks: { replicas: inTurn({ probeMs: 500 }) } })
  const reading = read(upstream, name, digest)
  await until(() => one.requests.some(each => each.bytes >= 100_000))
  // A frozen process answers no probe either.
  one.faults.headerDelay = held
  t.ok((await reading).bytes.equals(bytes))
  t.ok(kinds(events, 'resume').some(each => each.endpoint === new URL(other.url).host))
})

test('a replica that answers probes has more patience: its own source may be slow', async t => {
  const content = new UpstreamContent()
  const [one, other] = [await startUpstream(t, { content }), await startUpstream(t, { content })]
  const bytes = randomBytes(400_000)
  const digest = parseDigest(one.addBlob(name, bytes))
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  one.faults.hold = { at: 100_000, until: held }
  const { upstream, events } = clientOf(t, [one, other], { hooks: { replicas: inTurn({ silenceMs: 20 }) } })
  const reading = read(upstream, name, digest)
  await until(() => kinds(events, 'probe').length >= 5)
  release()
  t.ok((await reading).bytes.equals(bytes))
  t.equal(kinds(events, 'resume').length, 0)
})

test('a 401 or 403 of one replica is no answer while another one may be asked', async t => {
  const content = new UpstreamContent()
  const [one, other] = [await startUpstream(t, { content }), await startUpstream(t, { content })]
  const image = content.addImage(name, 'v1')
  const { upstream } = clientOf(t, [one, other], { hooks: { replicas: inTurn() } })
  for (const status of [401, 403]) {
    one.faults.statuses = [{ status }]
    t.equal((await served(upstream.statManifest(name, ref('v1'), never()))).digest, image.digest)
    t.equal((await served(upstream.getManifest(name, ref('v1'), { signal: never() }))).descriptor.digest, image.digest)
    t.equal((await read(upstream, name, parseDigest(image.layer))).bytes.length, 256)
    t.match((await errorOf(upstream.getManifest(name, ref('absent'), { signal: never() }))).status, status)
  }
})

test('a push begins at another replica where one is frozen, and a session at one that freezes is given up', async t => {
  const frozen = await silent(t)
  const replica = await startUpstream(t)
  const policy = inTurn({ hedgeAfterMs: () => 20, probeMs: 300 })
  const { upstream } = clientOf(t, [frozen, replica], { hooks: { replicas: policy } })
  // The fake takes no pushes: what counts is who was asked.
  await errorOf(upstream.sink.startUpload(name))
  t.equal(replica.count('POST'), 1)
  const { upstream: alone } = clientOf(t, [frozen], { hooks: { replicas: policy } })
  const put = alone.sink.putManifest(name, ref('v1'), { bytes: Buffer.from('{}') }, [])
  t.match(await errorOf(put), { kind: 'timeout', code: 'SILENT' })
})

test('a replica that answered 500 is healthy again when its backoff is over and it answers a probe', async t => {
  let now = 1_000_000
  const replica = await startUpstream(t)
  const { upstream } = clientOf(t, [replica], { hooks: { replicas: inTurn(), now: () => now } })
  replica.faults.statuses = [{ status: 500, when: ({ path }) => path !== '/' }]
  await errorOf(upstream.statManifest(name, ref('v1'), never()))
  await upstream.probe(1e9)
  t.equal(upstream.health()[0]?.healthy, false)
  now += 60_000
  await upstream.probe(1e9)
  t.equal(upstream.health()[0]?.healthy, true)
})

test('a kept connection that a replica ends is no failure, also of the only one', async t => {
  const replica = await startUpstream(t)
  const image = replica.addImage(name, 'v1')
  const { upstream } = clientOf(t, [replica], { hooks: { replicas: inTurn() } })
  await upstream.statManifest(name, ref('v1'), never())
  replica.faults.hangUps = 1
  t.equal((await served(upstream.statManifest(name, ref('v1'), never()))).digest, image.digest)
})

test('the loser of a race is aborted, and the signal of the caller ends all of it', async t => {
  const frozen = await silent(t)
  const replica = await startUpstream(t)
  const digest = parseDigest(replica.addBlob(name, randomBytes(1000)))
  const { upstream } = clientOf(t, [frozen, replica], { hooks: { replicas: inTurn({ hedgeAfterMs: () => 20 }) } })
  t.equal((await read(upstream, name, digest)).bytes.length, 1000)
  await until(() => upstream.health().every(each => each.running === 0))
  const leaving = new AbortController()
  const asking = upstream.statManifest(name, ref('absent'), leaving.signal)
  leaving.abort(new Error('the client is gone'))
  await t.rejects(asking, { message: 'the client is gone' })
  await until(() => upstream.health().every(each => each.running === 0))
})
