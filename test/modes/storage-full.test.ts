import { test } from 'tap'
import { filesBelow, metric } from '../src/support.ts'
import { mountSmall } from '../support/place.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { behind, blobBehind, serveModes, storedFills } from './scene.ts'

const room = 4 * 2 ** 20
for (const known of ['known', 'unknown'] as const) {
  test(`Proxy: a blob of ${known} size that is larger than the disk is served whole, and leaves nothing behind`, async t => {
    const mounted = await mountSmall(t, room)
    if (typeof mounted === 'string') return void t.pass('tmpfs', { skip: mounted })
    const upstream = await startUpstream(t)
    upstream.faults.noLength = known === 'unknown'
    const served = await serveModes(t, { registry: behind('Proxy', upstream) }, mounted.directory)
    const large = blobBehind(upstream, 3 * room)
    const pulls = await Promise.all([1, 2, 3].map(() => pull(served.listen, large.path)))
    t.strictSame(
      pulls.map(each => [each.digest, each.complete]),
      Array(3).fill([large.digest, true])
    )
    t.strictSame(
      (await filesBelow(mounted.directory)).filter(each => each.includes('/tmp/') || each.endsWith('/data')),
      []
    )
    // It is no fault of the disk.
    t.equal(await metric(served, 'registry_fills_total', '{result="full"}'), 1)
    t.equal(served.logged('there is no capacity for a blob; clients get it from upstream').length, 1)
    if (known === 'known') t.equal(await metric(served, 'registry_cache_requests_total', '{route="blob",outcome="bypass"}'), 3)

    const small = blobBehind(upstream, 1000)
    t.equal((await pull(served.listen, small.path)).digest, small.digest)
    // One that does not fit keeps no other from being stored.
    await storedFills(served, 1)
  })
}
