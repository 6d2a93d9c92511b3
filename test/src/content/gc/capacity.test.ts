import { type Test, test } from 'tap'
import { type CapacityDemand, capacityOf } from '../../../../src/content/fill/capacity.ts'
import { platform } from '../../../../src/content/fill/shares.ts'
import { Capacity, type CapacityDeps } from '../../../../src/content/gc/capacity.ts'
import type { Digest } from '../../../../src/oci/digest.ts'
import { cacheBlob } from '../../../support/cached.ts'
import { createTestClock } from '../../../support/clock.ts'
import { noYield } from '../../../support/collect.ts'
import { blobText, imageOf, named, type Opened, openFor, storeManifest } from '../../../support/content.ts'
import { watchStorage } from '../../../support/storage.ts'

const [own, one, two] = [named('app'), named('one/app'), named('two/app')]
const shares = {
  upstreamOf: (name: string) => (name === own ? platform : (name.split('/')[0] ?? '')),
  upstreams: () => new Set([platform, 'one', 'two'])
}

/** A cache of `budget` bytes, in which only blobs count. */
async function place(t: Test, budget: number, more: Partial<CapacityDeps> & { marginBytes?: number } = {}) {
  const all = await openFor(t)
  const state = { used: 0, removed: [] as string[] }
  const capacity = new Capacity({
    content: all.content,
    storage: { ...watchStorage(all.storage, () => {}), usage: async () => ({ ...(await all.storage.usage()), used: state.used }) },
    space: {
      missingBytes: bytes => state.used + bytes - budget,
      freeBytes: () => Math.max(0, budget - state.used),
      marginBytes: more.marginBytes ?? 0
    },
    policy: async () => ({ pinned: () => false, grace: 0 }),
    yielder: noYield,
    onRemove: ({ kind, digest, bytes = 0 }) => {
      state.used -= bytes
      if (kind === 'blob') state.removed.push(String(digest))
    },
    ...more
  })
  const cache = async (text: string, at: number, name = own): Promise<Digest> => {
    state.used += text.length
    return cacheBlob(all, text, at, name)
  }
  return { ...all, capacity, state, cache }
}

/** What one fill demands that would take so many bytes. */
const demand =
  (bytes: number, upstream = platform, others: CapacityDemand['others'] = []) =>
  () => ({
    own: { upstream, written: 0, remaining: bytes, secured: bytes },
    others
  })

const there = async ({ content }: Opened, digest: Digest, name = own) => (await blobText(content, name, digest)) !== undefined

test('capacity: the content with the oldest access is evicted first, and no more than needed', async t => {
  const { capacity, cache, state } = await place(t, 60, { marginBytes: 3 })
  const digests: Digest[] = []
  for (let at = 0; at < 10; at++) digests.push(await cache(`blob ${at}`, 1_000 * (at + 1)))
  await Promise.all([capacity.secure(demand(6)), capacity.secure(demand(6))])
  t.strictSame([...state.removed].sort(), digests.slice(0, 2).sort())
  await t.rejects(capacity.secure(demand(1_000)), { code: 'EDQUOT' })
  await capacity.secure(demand(6))
})

test('capacity: shared bytes free nothing, so eviction goes on until there is enough', async t => {
  const all = await place(t, 9)
  const { capacity, cache } = all
  const digest = await cache('shared', 1_000)
  all.state.used -= 6
  await cache('shared', 9_000, named('other'))
  const alone = await cache('own', 5_000)
  await capacity.secure(demand(3))
  t.notOk(await there(all, alone))
  t.ok(await there(all, digest, named('other')))
})

test('capacity: after an eviction that freed too little, none is tried for this upstream for a while', async t => {
  const clock = createTestClock()
  let evictions = 0
  const policy = async () => {
    evictions++
    return { pinned: () => true, grace: 0 }
  }
  const { capacity, cache } = await place(t, 0, { clock, policy, shares })
  await cache('pinned', 1_000)
  const tried = async (upstream: string) => {
    const before = evictions
    await t.rejects(capacity.secure(demand(1, upstream)), { code: 'EDQUOT' })
    return evictions > before
  }
  t.ok(await tried('one'))
  await clock.advance(9_999)
  t.notOk(await tried('one'))
  t.ok(await tried(platform), 'another upstream is not kept from it')
  await clock.advance(1)
  t.ok(await tried('one'))
})

test('capacity: what cannot fit is refused before anything is removed', async t => {
  const all = await place(t, 30, { shares })
  const digests = [await all.cache('platform'.padEnd(10), 1_000), await all.cache('a'.padEnd(10), 2_000, one)]
  const pushed = await storeManifest(all.content, own, imageOf('a', ['b']))
  for (const [bytes, upstream] of [
    [10 ** 14, platform],
    [10 ** 14, 'one'],
    [31, platform],
    [21, 'one']
  ] as const)
    await t.rejects(all.capacity.check(demand(bytes, upstream)), { code: 'EDQUOT' }, `${bytes} of ${upstream || 'the platform'}`)
  t.strictSame(all.state.removed, [])
  for (const [at, name] of [own, one].entries()) t.ok(await there(all, digests[at] as Digest, name))
  t.ok(await all.content.manifests.get(own, pushed))
  await all.capacity.check(demand(30))
  t.strictSame(all.state.removed, [], 'a check of what can fit removes nothing either')
})

test('capacity: a check takes what is pinned or pushed for what cannot be evicted', async t => {
  const all = await place(t, 20, { policy: async () => ({ pinned: (_, each) => each === undefined, grace: 0 }) })
  await all.cache('a'.padEnd(20), 1_000)
  await t.rejects(all.capacity.check(demand(1)), { code: 'EDQUOT', message: /no more than 0 bytes may be evicted/ })
})

test("capacity: the platform's content is never evicted for a namespace, and every other content for the platform", async t => {
  const all = await place(t, 30, { shares })
  const old = await all.cache('platform'.padEnd(20), 1_000)
  const other = await all.cache('x'.padEnd(10), 2_000, one)
  await t.rejects(all.capacity.secure(demand(11, 'one')), { code: 'EDQUOT' })
  t.ok(await there(all, old))
  t.notOk(await there(all, other, one), 'its own content was not enough')
  await all.cache('y'.padEnd(10), 3_000, two)
  await all.capacity.secure(demand(30))
  t.strictSame(all.state.removed.length, 3)
})

test('capacity: a namespace takes back its share from another one, and no more', async t => {
  const all = await place(t, 40, { shares })
  const digests: Digest[] = []
  for (const at of [1, 2, 3, 4]) digests.push(await all.cache(`${at}`.padEnd(10), at * 1_000, one))
  await all.capacity.check(demand(20, 'two'))
  await t.rejects(all.capacity.check(demand(21, 'two')), { code: 'EDQUOT', message: /two, whose share of the cache has 20/ })
  await all.capacity.secure(demand(20, 'two'))
  t.strictSame(
    await Promise.all(digests.map(each => there(all, each, one))),
    [false, false, true, true],
    'the oldest go, down to the share'
  )
  for (const at of [5, 6]) await all.cache(`${at}`.padEnd(10), at * 1_000, two)
  const [kept] = [await there(all, digests[2] as Digest, one)]
  await all.capacity.secure(demand(10, 'two'))
  t.ok(kept && (await there(all, digests[2] as Digest, one)), 'then its own, however young')
})

test('capacity: content of a namespace that is cached no longer is evicted for any upstream', async t => {
  const all = await place(t, 20, { shares })
  const gone = named('gone/app')
  const digest = await all.cache('g'.padEnd(20), 5_000, gone)
  await all.capacity.secure(demand(10, 'one'))
  t.notOk(await there(all, digest, gone))
})

test('capacity: promises to others count, up to their share; those to a namespace not for the platform', async t => {
  const { capacity } = await place(t, 40, { shares })
  const promised = (remaining: number, upstream = 'one') => [{ upstream, written: 0, remaining, secured: 0 }]
  await capacity.check(demand(20, 'two', promised(40)))
  await t.rejects(capacity.check(demand(20, 'two', promised(40, platform))), { code: 'EDQUOT' })
  await capacity.check(demand(40, platform, promised(40)))
})

test('capacity: what is cached after a check counts for the share in the next one', async t => {
  const all = await place(t, 30, { shares })
  await t.rejects(all.capacity.check(demand(16, 'one')), { code: 'EDQUOT' })
  await all.cache('a'.padEnd(15), 1_000, one)
  all.capacity.added('one', 15)
  await all.capacity.check(demand(15, 'two'))
  await all.capacity.check(demand(15, 'one'))
})

test('capacity: without a cache to evict from, promises are held against the storage', async t => {
  const { storage } = await openFor(t)
  const capacity = capacityOf({ shortage: bytes => storage.shortage(bytes) })
  await capacity.check(demand(1))
  await t.rejects(capacity.check(demand(1, platform, [{ upstream: 'one', written: 0, remaining: 10 ** 17, secured: 0 }])), {
    code: 'EDQUOT'
  })
})
