import { test } from 'tap'
import { ask } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, bytesSent, downloads, serveModes, storedFills } from './scene.ts'

const size = 4 * 2 ** 20

for (const mode of ['Proxy', 'Direct'] as const) {
  for (const [range, from, to] of [
    [`bytes=${size - 1000}-`, size - 1000, size],
    ['bytes=-1000', size - 1000, size],
    ['bytes=1000-1999', 1000, 2000],
    ['bytes=0-', 0, size]
  ] as const) {
    test(`${mode}: Range: ${range} on an uncached blob is 206 with the right bytes`, async t => {
      const upstream = await startUpstream(t)
      const served = await serveModes(t, { registry: behind(mode, upstream) })
      const { bytes, path } = blobBehind(upstream, size)
      const { status, headers, body } = await ask(served.listen, 'GET', path, { headers: { range } })
      t.equal(status, 206)
      t.equal(headers['content-range'], `bytes ${from}-${to - 1}/${size}`)
      t.ok(body.equals(bytes.subarray(from, to)))
    })
  }

  test(`${mode}: a range past the end is 416 with the size`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { path } = blobBehind(upstream, size)
    const { status, headers } = await ask(served.listen, 'GET', path, { headers: { range: `bytes=${size}-` } })
    t.strictSame([status, headers['content-range']], [416, `bytes */${size}`])
  })

  test(`${mode}: a range where upstream tells no size and ignores ranges is answered by the whole blob`, async t => {
    const upstream = await startUpstream(t)
    Object.assign(upstream.faults, { noLength: true, ignoresRange: true })
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { digest, path } = blobBehind(upstream, size)
    const pulled = await pull(served.listen, path, { headers: { range: 'bytes=1000-' } })
    t.strictSame([pulled.status, pulled.digest, pulled.complete], [200, digest, true])
  })
}

test('Direct: a range where upstream ignores ranges is 206 all the same', async t => {
  const upstream = await startUpstream(t)
  upstream.faults.ignoresRange = true
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  const { bytes, path } = blobBehind(upstream, size)
  const { status, body } = await ask(served.listen, 'GET', path, { headers: { range: 'bytes=1000-1999' } })
  t.equal(status, 206)
  t.ok(body.equals(bytes.subarray(1000, 2000)))
})

test('Proxy: the head of a range goes out before its bytes have come', async t => {
  const upstream = await startUpstream(t)
  const held = Promise.withResolvers<void>()
  upstream.faults.hold = { at: 1000, until: held.promise }
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { path } = blobBehind(upstream, size)
  const headers = { range: `bytes=${size / 2}-` }
  const pulled = await pull(served.listen, path, { headers, onHead: held.resolve })
  t.strictSame([pulled.status, pulled.bytes, pulled.complete], [206, size / 2, true])
})

test('Proxy: parallel open-ended ranges that are closed early, as containerd asks them, cost one download', async t => {
  const upstream = await startUpstream(t)
  upstream.faults.bytesPerSecond = 8 * 2 ** 20
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { digest, bytes, path } = blobBehind(upstream, size)
  const chunk = size / 8
  const parts = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const pulled = await pull(served.listen, path, { headers: { range: `bytes=${index * chunk}-` }, leaveAfter: chunk })
      return [pulled.status, pulled.headers['content-range'], pulled.bytes >= chunk]
    })
  )
  t.strictSame(
    parts,
    Array.from({ length: 8 }, (_, index) => [206, `bytes ${index * chunk}-${size - 1}/${size}`, true])
  )
  t.equal((await pull(served.listen, path)).digest, digest)
  t.equal(downloads(upstream, digest).length, 1)
  t.equal(bytesSent(upstream, digest), bytes.length)
  await storedFills(served, 1)
})

test('Proxy: a range of a cached blob asks nobody', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { bytes, path } = blobBehind(upstream, 100_000)
  await pull(served.listen, path)
  const asked = upstream.requests.length
  const { status, body } = await ask(served.listen, 'GET', path, { headers: { range: 'bytes=5-9' } })
  t.equal(status, 206)
  t.ok(body.equals(bytes.subarray(5, 10)))
  t.equal(upstream.requests.length, asked)
})
