import { test } from 'tap'
import { filesBelow, metric, openFiles, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, bytesSent, downloads, serveModes, storedFills } from './scene.ts'

const size = 4 * 2 ** 20

test('Proxy: the first client leaves at 5 %, the download goes on, and the next client is a hit', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: size / 2, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, path } = blobBehind(upstream, size)
  await pull(served.listen, path, { leaveAfter: size / 20 })
  held.resolve()
  await storedFills(served, 1)
  t.equal((await pull(served.listen, path)).digest, digest)
  t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="hit"}'), 1)
  t.equal(downloads(upstream, digest).length, 1)
  t.equal(bytesSent(upstream, digest), size)
})

test('Proxy: all clients of a download leave, and none of its files stays open', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: size / 2, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { path } = blobBehind(upstream, size)
  await Promise.all([1, 2, 3].map(() => pull(served.listen, path, { leaveAfter: 1000 })))
  held.resolve()
  await storedFills(served, 1)
  await until(async () => (await metric(served, 'registry_requests_running')) === 0)
  t.strictSame(await openFiles(served.root), [])
})

test('Direct: a client that leaves ends the download', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: size / 2, until: held.promise }
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const { digest, path } = blobBehind(upstream, size)
  await pull(served.listen, path, { leaveAfter: 1000 })
  const label = `{endpoint="${new URL(upstream.url).host}",result="cancelled"}`
  await until(async () => Number(await metric(served, 'registry_upstream_bytes_total', label)) >= 0)
  held.resolve()
  t.ok(bytesSent(upstream, digest) <= size / 2)
})

test('Proxy: the process stops while a blob comes in, and leaves nothing half-written', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: size / 2, until: held.promise }
  t.teardown(held.resolve)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { path } = blobBehind(upstream, size)
  const pulled = pull(served.listen, path)
  await until(async () => Number((await openFiles(served.root)).length) > 0)
  await served.stop()
  t.equal((await pulled).complete, false)
  t.strictSame(
    (await filesBelow(served.root)).filter(each => each.includes('/tmp/') || each.endsWith('/data')),
    []
  )
  t.strictSame(await openFiles(served.root), [])
})
