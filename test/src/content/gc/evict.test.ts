import { type Test, test } from 'tap'
import { Capacity } from '../../../../src/content/gc/capacity.ts'
import * as keys from '../../../../src/content/keys.ts'
import { LastAccess } from '../../../../src/content/last-access.ts'
import { type Digest, digestOf } from '../../../../src/oci/digest.ts'
import type { Name } from '../../../../src/oci/name.ts'
import { createTestClock } from '../../../support/clock.ts'
import { collected, evicted, hour, noYield } from '../../../support/collect.ts'
import { blobText, imageOf, indexOf, named, type Opened, openFor, pushBlob, storeManifest, tagged } from '../../../support/content.ts'
import { keysBelow, watchStorage } from '../../../support/storage.ts'

const name = named('system/deckhouse')
const upstream = 'upstream.example'
const forever = Number.POSITIVE_INFINITY

/** Caches a blob as a fill does, with a last access at `at`. */
async function cacheBlob(t: Opened, bytes: string, at: number, of: Name = name): Promise<Digest> {
  const digest = digestOf(Buffer.from(bytes))
  const writer = await t.storage.create(`.registry/tmp/${digest.slice(-8)}`)
  await writer.write([Buffer.from(bytes)])
  await t.content.commit.publishBlob(of, digest, writer, upstream)
  await age(t, digest, at, of)
  return digest
}

/** Caches a manifest, with a last access at `at`. */
async function cacheManifest(t: Opened, bytes: Buffer, at: number, tags: readonly string[] = [], of: Name = name): Promise<Digest> {
  const digest = digestOf(bytes)
  await t.content.commit.putManifest(of, digest, bytes, { tags: tags.map(tagged), provenance: { upstream, digest, checked: at } })
  await age(t, digest, at, of)
  return digest
}

async function age({ storage }: Opened, digest: Digest, at: number, of: Name): Promise<void> {
  const { utimes } = await import('node:fs/promises')
  const path = (storage as unknown as { path(key: string): string }).path(keys.provenanceRecord(of, digest))
  await utimes(path, at / 1000, at / 1000)
}

/** An old image and a new one that share a layer, and an old image that was pushed. */
async function opened(t: Test) {
  const all = await openFor(t)
  for (const [bytes, at] of [
    ['shared', 5_000],
    ['old', 1_000],
    ['new', 5_000],
    ['config', 1_000]
  ] as const)
    await cacheBlob(all, bytes, at)
  const old = await cacheManifest(all, imageOf('config', ['shared', 'old']), 1_000, ['old'])
  const fresh = await cacheManifest(all, imageOf('new', ['shared']), 5_000, ['new'])
  return { ...all, old, fresh }
}

test('evict: an image that was not requested is evicted with its tag and with the blobs that only it needs', async t => {
  const all = await opened(t)
  const [config, own] = ['config', 'old'].map(each => digestOf(Buffer.from(each)))
  t.strictSame(
    await evicted(all, 3_000),
    [`blob ${all.old}`, `blob ${config}`, `blob ${own}`, `link ${config}`, `link ${own}`, `manifest ${all.old}`, 'tag old'].sort()
  )
  t.equal(await blobText(all.content, name, digestOf(Buffer.from('shared'))), 'shared')
  t.strictSame((await all.content.tags.list(name, {})).items, ['new'])
  t.equal((await keysBelow(all.storage, keys.provenance)).length, 4, 'the marks are gone as well')
  t.strictSame(all.damages, [])
})

test('evict: a dry run reports what would be evicted, also of content that other repositories have, and changes nothing', async t => {
  const all = await opened(t)
  const other = named('other')
  for (const [bytes, at] of [
    ['old', 1_000],
    ['config', 5_000],
    ['shared', 1_000]
  ] as const)
    await cacheBlob(all, bytes, at, other)
  const everything = async () => [...(await keysBelow(all.storage, 'docker')), ...(await keysBelow(all.storage, keys.provenance))]
  const before = await everything()
  const reported = await evicted(all, 3_000, { dryRun: true })
  t.ok(reported.includes(`blob ${digestOf(Buffer.from('old'))}`), 'the bytes that both would lose')
  t.notOk(reported.includes(`blob ${digestOf(Buffer.from('config'))}`), 'those that one would keep')
  t.strictSame(await everything(), before)
  t.strictSame(await evicted(all, 3_000), reported)
})

test('evict: requested content is kept, also if only memory knows of the request', async t => {
  const all = await opened(t)
  const oldest = digestOf(Buffer.from('old'))
  all.content.lastAccess.record(name, oldest)
  t.strictSame(await evicted(all, 3_000), [], 'a blob that no other image has keeps its image')
})

test('evict: the last access survives a restart, and costs one write an hour', async t => {
  const all = await opened(t)
  all.content.lastAccess.record(name, all.old)
  const restarted = await openFor(t, all.storage)
  const stored = async () => (await restarted.content.lastAccess.of(name, all.old)) ?? 0
  while ((await stored()) < Date.now() - hour) await new Promise(setImmediate)
  t.ok((await stored()) > Date.now() - hour)
  const touched: string[] = []
  let now = 1_000_000_000
  const watched = watchStorage(all.storage, (call, key) => void (call === 'touch' && touched.push(key)))
  const access = new LastAccess({
    storage: watched,
    provenance: all.content.provenance,
    coordination: all.content.coordination,
    now: () => now
  })
  for (let minute = 0; minute < 119; minute++, now += 60_000) access.record(name, all.old)
  t.equal(touched.length, 2)
})

test('evict: pushed content is kept whatever its age, with the cached blobs that it needs', async t => {
  const all = await opened(t)
  const pushed = await storeManifest(all.content, name, imageOf('config', ['old'], { annotations: { is: 'pushed' } }))
  const loose = await pushBlob(all.content, name, 'pushed and needed by nothing')
  await evicted(all, forever)
  t.ok(await all.content.manifests.get(name, pushed))
  for (const each of ['config', 'old']) t.equal(await blobText(all.content, name, digestOf(Buffer.from(each))), each)
  t.ok(await blobText(all.content, name, loose))
  t.equal(await all.content.manifests.get(name, all.old), undefined)
})

test('evict: a cached image under a pushed tag is kept', async t => {
  const all = await opened(t)
  await all.content.commit.putManifest(name, all.old, imageOf('config', ['shared', 'old']), { tags: [tagged('mine')] })
  await evicted(all, forever)
  t.ok(await all.content.manifests.get(name, all.old))
  t.equal(await blobText(all.content, name, digestOf(Buffer.from('old'))), 'old')
})

test('evict: bytes that another repository may read are kept', async t => {
  const all = await opened(t)
  const own = digestOf(Buffer.from('old'))
  await all.content.commit.linkBlob(named('other'), own)
  await evicted(all, 3_000)
  t.equal(await blobText(all.content, name, own), undefined)
  t.equal(await blobText(all.content, named('other'), own), 'old')
})

test('evict: a child keeps its index, and an index its children', async t => {
  const all = await openFor(t)
  const [one, two] = [imageOf('config', ['one']), imageOf('config', ['two'])]
  const [first, second] = [await cacheManifest(all, one, 5_000), await cacheManifest(all, two, 1_000)]
  const index = await cacheManifest(all, indexOf([one, two]), 1_000, ['all'])
  t.strictSame(await evicted(all, 3_000), [])
  await age(all, first, 1_000, name)
  const gone = await evicted(all, 3_000)
  for (const each of [first, second, index]) t.ok(gone.includes(`manifest ${each}`))
})

test('evict: content that is being read or was just reported to a client is kept', async t => {
  const all = await opened(t)
  const [reading, reported] = ['config', 'old'].map(each => digestOf(Buffer.from(each))) as [Digest, Digest]
  const blob = await all.content.blobs.open(name, reading)
  await all.content.blobs.statRenewed(name, reported)
  await evicted(all, 3_000, { grace: hour })
  t.equal(await blobText(all.content, name, reading), 'config')
  t.equal(await blobText(all.content, name, reported), 'old')
  await blob?.body.close()
})

test('evict: pinned content is kept with what it needs', async t => {
  for (const pinned of [
    (_: Name, reference?: object) => reference !== undefined && 'tag' in reference && reference.tag === 'old',
    (_: Name, reference?: object) => reference === undefined
  ]) {
    const all = await opened(t)
    await evicted(all, 3_000, { pinned })
    t.ok(await all.content.manifests.get(name, all.old))
    t.equal(await blobText(all.content, name, digestOf(Buffer.from('old'))), 'old')
  }
})

test('evict: a pushed manifest that is damaged keeps all of its repository', async t => {
  const all = await opened(t)
  const pushed = await storeManifest(all.content, name, imageOf('config', ['old'], { annotations: { is: 'pushed' } }))
  await all.storage.put(keys.blob(pushed), Buffer.from('damaged'))
  t.strictSame(await evicted(await openFor(t, all.storage), forever), [])
})

test('collect: an unreferenced cached blob is kept in Proxy and removed in Local', async t => {
  const all = await openFor(t)
  const digest = await cacheBlob(all, 'loose', 1_000)
  t.strictSame(await collected(all, { unreferencedCached: 'keep' }), [])
  t.ok((await collected(all, { unreferencedCached: 'sweep' })).includes(`blob ${digest}`))
})

test('capacity: the content with the oldest access is evicted first, and no more than needed', async t => {
  const all = await openFor(t)
  const digests: Digest[] = []
  for (let at = 0; at < 10; at++) digests.push(await cacheBlob(all, `blob ${at}`, 1_000 * (at + 1)))
  let used = 60
  const removed: string[] = []
  const capacity = new Capacity({
    ...all,
    space: { missingBytes: bytes => used + bytes - 60, marginBytes: 3 },
    policy: async () => ({ pinned: () => false, grace: 0 }),
    yielder: noYield,
    onRemove: ({ kind, digest, bytes = 0 }) => {
      used -= bytes
      if (kind === 'blob') removed.push(String(digest))
    }
  })
  t.strictSame(await Promise.all([capacity.ensureCapacity(6), capacity.ensureCapacity(6)]), [true, true])
  t.strictSame([...removed].sort(), digests.slice(0, 2).sort())
  t.equal(await capacity.ensureCapacity(1_000), false)
  t.equal(await capacity.ensureCapacity(6), true, 'what fits needs no eviction')
})

test('capacity: shared bytes free nothing, so eviction goes on until there is enough', async t => {
  const all = await openFor(t)
  const digest = await cacheBlob(all, 'shared', 1_000)
  await cacheBlob(all, 'shared', 9_000, named('other'))
  const own = await cacheBlob(all, 'own', 5_000)
  let used = 9
  const capacity = new Capacity({
    ...all,
    space: { missingBytes: bytes => used + bytes - 9, marginBytes: 0 },
    policy: async () => ({ pinned: () => false, grace: 0 }),
    yielder: noYield,
    onRemove: removal => {
      used -= removal.bytes ?? 0
    }
  })
  t.equal(await capacity.ensureCapacity(3), true)
  t.equal(await blobText(all.content, name, own), undefined)
  t.equal(await blobText(all.content, named('other'), digest), 'shared')
})

test('capacity: after an eviction that freed too little, none is tried for a while', async t => {
  const all = await opened(t)
  const clock = createTestClock()
  let evictions = 0
  const capacity = new Capacity({
    ...all,
    clock,
    space: { missingBytes: () => 1, marginBytes: 0 },
    policy: async () => {
      evictions++
      return { pinned: () => true, grace: 0 }
    },
    yielder: noYield,
    onRemove: () => {}
  })
  t.equal(await capacity.ensureCapacity(1), false)
  const tried = evictions
  t.ok(tried > 0)
  await clock.advance(9_999)
  t.equal(await capacity.ensureCapacity(1), false)
  t.equal(evictions, tried)
  await clock.advance(1)
  t.equal(await capacity.ensureCapacity(1), false)
  t.ok(evictions > tried)
})
