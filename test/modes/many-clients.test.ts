import { test } from 'tap'
import { metric } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, bytesSent, downloads, serveModes } from './scene.ts'

const [clients, size] = [30, 8 * 2 ** 20]

test('Proxy: thirty clients of one uncached blob cost one download, and each gets the whole blob', async t => {
  const upstream = await startUpstream(t)
  upstream.faults.bytesPerSecond = 2 * size
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path, bytes } = blobBehind(upstream, size)
  const pulls = await Promise.all(Array.from({ length: clients }, () => pull(served.listen, path)))
  t.strictSame([...new Set(pulls.map(each => `${each.status} ${each.digest} ${each.complete}`))], [`200 ${digest} true`])
  t.equal(downloads(upstream, digest).length, 1)
  t.equal(bytesSent(upstream, digest), bytes.length)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="miss"}'), 1)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="join"}'), clients - 1)
})

test('Proxy: a client gets bytes while the download still runs', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 2 ** 20, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 4 * 2 ** 20)
  const early = await pull(served.listen, path, { leaveAfter: 2 ** 19 })
  t.equal(early.complete, false)
  held.resolve()
  t.equal((await pull(served.listen, path)).digest, digest)
  t.equal(downloads(upstream, digest).length, 1)
})

test('Proxy: a first client that reads slowly does not slow the others down', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, 24 * 2 ** 20)
  const order: string[] = []
  const begun = Promise.withResolvers<void>()
  const slow = pull(served.listen, path, { bytesPerSecond: 12 * 2 ** 20, onHead: begun.resolve }).then(each => {
    order.push('slow')
    return each
  })
  await begun.promise
  const fast = await Promise.all([1, 2, 3].map(() => pull(served.listen, path)))
  order.push('fast')
  t.strictSame(
    fast.map(each => each.digest),
    [digest, digest, digest]
  )
  t.equal((await slow).digest, digest)
  t.strictSame(order, ['fast', 'slow'])
  t.equal(downloads(upstream, digest).length, 1)
  t.equal(bytesSent(upstream, digest), 24 * 2 ** 20)
})
