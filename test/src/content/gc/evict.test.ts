import { type Test, test } from 'tap'
import * as keys from '../../../../src/content/keys.ts'
import { LastAccess } from '../../../../src/content/last-access.ts'
import { type Digest, digestOf } from '../../../../src/oci/digest.ts'
import type { Name } from '../../../../src/oci/name.ts'
import { ageCached, cacheBlob, cacheManifest, cachedName as name } from '../../../support/cached.ts'
import { collected, evicted, hour } from '../../../support/collect.ts'
import { blobText, describe, imageOf, indexOf, named, openFor, pushBlob, storeManifest, tagged } from '../../../support/content.ts'
import { keysBelow, watchStorage } from '../../../support/storage.ts'

const forever = Number.POSITIVE_INFINITY

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

test('evict: the blobs that a cached index lists stay and go with it, as those of BuildKit', async t => {
  const all = await openFor(t)
  const blobs = ['layer', 'cacheconfig']
  for (const each of blobs) await cacheBlob(all, each, 1_000)
  const index = await cacheManifest(all, indexOf([], { manifests: blobs.map(each => describe(each)) }), 5_000, ['main'])
  t.strictSame(await evicted(all, 3_000), [], 'the index was requested')
  t.strictSame(await collected(all, { inHours: 48 }), [])
  for (const each of blobs) t.equal(await blobText(all.content, name, digestOf(Buffer.from(each))), each)
  const removed = await evicted(all, 6_000)
  t.strictSame(
    removed,
    [index, ...blobs.map(each => digestOf(Buffer.from(each)))]
      .map(each => `blob ${each}`)
      .concat(
        blobs.map(each => `link ${digestOf(Buffer.from(each))}`),
        [`manifest ${index}`, 'tag main']
      )
      .sort()
  )
})

test('evict: a request for a blob that only a cached index lists keeps the index', async t => {
  const all = await openFor(t)
  await cacheBlob(all, 'layer', 5_000)
  await cacheManifest(all, indexOf([], { manifests: [describe('layer')] }), 1_000, ['main'])
  t.strictSame(await evicted(all, 3_000), [])
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
  await ageCached(all, first, 1_000, name)
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
