import { createHash } from 'node:crypto'
import { test } from 'tap'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, downloads, serveModes } from './scene.ts'

const MIB = 2 ** 20
const size = 24 * MIB

/** Clients of all sorts that want the same blob at the same time: fast ones, a slow one, some that leave, and parts of it. */
async function pullTogether(address: string, path: string, bytes: Buffer) {
  const whole = (manner = {}) => pull(address, path, manner)
  const part = async (first: number, last: number) => {
    const pulled = await pull(address, path, { headers: { range: `bytes=${first}-${last}` } })
    return {
      digest: pulled.digest,
      expected: `sha256:${createHash('sha256')
        .update(bytes.subarray(first, last + 1))
        .digest('hex')}`
    }
  }
  const leaving = [whole({ leaveAfter: MIB }), whole({ leaveAfter: 14 * MIB }), whole({ leaveAfter: 20 * MIB })]
  const [wholes, parts, left] = await Promise.all([
    Promise.all([whole(), whole({ bytesPerSecond: 24 * MIB }), whole(), whole()]),
    Promise.all([part(1_234_567, size - 1), part(13 * MIB + 1, 20 * MIB), part(0, 0), part(size - 5000, size - 1)]),
    Promise.all(leaving)
  ])
  return { wholes, parts, left }
}

for (const state of ['that is on its way', 'that is stored']) {
  test(`Proxy: clients of all sorts that pull a blob ${state} together get their bytes, each at its pace`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind('Proxy', upstream) })
    const { digest, path, bytes } = blobBehind(upstream, size)
    if (state === 'that is stored') await pull(served.listen, path)
    const { wholes, parts, left } = await pullTogether(served.listen, path, bytes)
    t.strictSame(
      wholes.map(each => each.digest),
      wholes.map(() => digest)
    )
    for (const part of parts) t.equal(part.digest, part.expected)
    t.ok(left.every(each => !each.complete))
    t.equal(downloads(upstream, digest).length, 1)
  })
}

test('Proxy: of a wrong blob nobody gets the end, however many wait for it together', async t => {
  const upstream = await startUpstream(t)
  upstream.faults.wrongByte = size - 10_000
  upstream.faults.bytesPerSecond = 2 * size
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const { path } = blobBehind(upstream, size)
  const pulls = await Promise.all(Array.from({ length: 8 }, () => pull(served.listen, path)))
  for (const each of pulls) t.ok(!each.complete && each.bytes <= size - 4096, `${size - each.bytes} bytes are missing`)
})
