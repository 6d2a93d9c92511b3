import { type Test, test } from 'tap'
import { openContent } from '../../../src/content/content.ts'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Clock } from '../../../storage/clock.ts'
import type { Storage } from '../../../storage/storage.ts'
import { createTestClock } from '../../support/clock.ts'
import { blobText, imageOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { keysBelow, openStorage, textOf, watchStorage } from '../../support/storage.ts'

const name = named('a')

/** Content with one blob whose bytes were replaced, and the stat of those. */
async function damagedBlob(t: Test, storage?: Storage, clock?: Clock) {
  const below = storage ?? (await openStorage(t))
  const opened = { content: openContent(below, () => {}, clock ? { clock } : {}), storage: below }
  const digest = await pushBlob(opened.content, name, 'right')
  await opened.storage.put(keys.blob(digest), Buffer.from('wrong'))
  const seen = await opened.storage.stat(keys.blob(digest))
  if (!seen) throw new Error('it was not stored')
  return { ...opened, digest, seen }
}

test('quarantine: wrong bytes are quarantined, and reported as missing from then on', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  t.match(await content.quarantine.add(digest, seen, 'flipped'), { kept: 'quarantine', size: 5, reason: 'flipped' })
  t.equal(await blobText(content, name, digest), undefined)
  t.equal(await content.blobs.stored(digest), false)
  t.equal(await textOf(storage, keys.quarantined(digest)), 'wrong', 'they can be examined')
  t.equal(content.quarantine.bytes, 5)
})

test('quarantine: a push heals, and nothing of it is left', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await content.quarantine.add(digest, seen, 'flipped')
  const healed: string[] = []
  content.quarantine.watch(damage => healed.push(damage.digest))
  await pushBlob(content, name, 'right')
  t.equal(await blobText(content, name, digest), 'right')
  t.strictSame(healed, [digest])
  t.strictSame(content.quarantine.list(), [])
  t.strictSame(await keysBelow(storage, keys.quarantine), [])
})

test('quarantine: a manifest in memory is not served when its bytes are found to be wrong, and comes back with a push', async t => {
  const { content, storage } = await openFor(t)
  const bytes = imageOf('config', [])
  const digest = await storeManifest(content, name, bytes, { tags: [tagged('v1')] })
  t.ok(await content.manifests.get(name, digest))
  await storage.put(keys.blob(digest), Buffer.from('{}'))
  const seen = await storage.stat(keys.blob(digest))
  if (!seen) throw new Error('it was not stored')
  await content.quarantine.add(digest, seen, 'flipped')
  t.equal(await content.manifests.get(name, digest), undefined)
  await storeManifest(content, name, bytes)
  t.ok(await content.manifests.get(name, digest))
  t.equal(content.quarantine.has(digest), false)
})

test('quarantine: bytes that were replaced since they were verified are kept', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await pushBlob(content, name, 'right')
  t.equal(await content.quarantine.add(digest, { ...seen, modified: seen.modified - 1 }, 'flipped'), undefined)
  t.equal(await blobText(content, name, digest), 'right')
  t.equal(content.quarantine.has(digest), false)
  t.strictSame(await keysBelow(storage, keys.quarantine), [])
})

test('quarantine: bytes that are held are not moved, and are not served to another client either', async t => {
  const clock = createTestClock()
  const { content, storage, digest, seen } = await damagedBlob(t, undefined, clock)
  const release = await content.holds.hold(digest)
  const added = content.quarantine.add(digest, seen, 'flipped')
  for (let attempt = 0; attempt < 5; attempt++) {
    await clock.whenWaiting()
    await clock.advance(200)
  }
  t.match(await added, { kept: 'in place' })
  t.equal(await blobText(content, name, digest), undefined)
  t.ok(await storage.stat(keys.blob(digest)))
  release()
  await pushBlob(content, name, 'right')
  t.equal(await blobText(content, name, digest), 'right')
})

test('quarantine: where the storage takes no rename, wrong bytes are not served', async t => {
  const below = await openStorage(t)
  let failing = false
  const storage = watchStorage(below, call => {
    if (failing && (call === 'move' || call === 'put')) throw Object.assign(new Error('read-only'), { code: 'EROFS' })
  })
  const { content, digest, seen } = await damagedBlob(t, storage)
  failing = true
  t.match(await content.quarantine.add(digest, seen, 'flipped'), { kept: 'in place' })
  t.equal(await blobText(content, name, digest), undefined)
})

test('quarantine: a push that ends while bytes are being quarantined wins', async t => {
  const below = await openStorage(t)
  let healing: (() => Promise<void>) | undefined
  const storage = watchStorage(below, async (call, key) => {
    const heal = healing
    if (call !== 'put' || !key.endsWith('/note') || !heal) return
    healing = undefined
    await heal()
  })
  const { content, digest, seen } = await damagedBlob(t, storage)
  const bytes = Buffer.from('right')
  healing = async () => {
    await below.put(keys.blob(digest), bytes)
    await content.quarantine.healed(digest)
  }
  await content.quarantine.addMissing(digest, 'never').then(found => t.equal(found, undefined, 'there are bytes'))
  t.equal(await content.quarantine.add(digest, seen, 'flipped'), undefined)
  t.equal(content.quarantine.has(digest), false)
  t.strictSame(await keysBelow(below, keys.quarantine), [])
  t.equal(await blobText(content, name, digest), 'right')
})

test('quarantine: damage is known after a restart, with its reason and time', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await content.quarantine.add(digest, seen, 'flipped')
  const [known] = content.quarantine.list()
  const again = (await openFor(t, storage)).content
  await again.quarantine.load()
  t.strictSame(again.quarantine.list(), [known])
  t.equal(again.quarantine.bytes, 5)
})

test('quarantine: a note that a power cut left empty still says that there is damage', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await content.quarantine.add(digest, seen, 'flipped')
  await storage.put(keys.quarantineNote(digest), Buffer.alloc(0))
  const again = (await openFor(t, storage)).content
  await again.quarantine.load()
  t.match(again.quarantine.list(), [{ digest, size: 5, kept: 'quarantine' }])
})

test('quarantine: a digest that was healed otherwise, such as by a restored backup, is forgotten at the start', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await content.quarantine.add(digest, seen, 'flipped')
  await storage.put(keys.blob(digest), Buffer.from('right'))
  const again = (await openFor(t, storage)).content
  await again.quarantine.load()
  t.strictSame(again.quarantine.list(), [])
  t.strictSame(await keysBelow(storage, keys.quarantine), [])
})

test('quarantine: old bytes are removed, and the digest stays known-bad', async t => {
  const { content, storage, digest, seen } = await damagedBlob(t)
  await content.quarantine.add(digest, seen, 'flipped')
  t.equal(await content.quarantine.expire(Date.now() - 60_000), 0)
  t.equal(await content.quarantine.expire(Date.now() + 60_000), 1)
  t.equal(content.quarantine.bytes, 0)
  t.ok(content.quarantine.has(digest))
  const again = (await openFor(t, storage)).content
  await again.quarantine.load()
  t.match(again.quarantine.list(), [{ digest, reason: 'flipped', kept: 'nowhere' }])
})

test('quarantine: missing bytes are recorded, existing ones are not', async t => {
  const { content, digest } = await damagedBlob(t)
  t.equal(await content.quarantine.addMissing(digest, 'gone'), undefined)
  t.equal(content.quarantine.has(digest), false)
  const other = digestOf(Buffer.from('never stored'))
  t.match(await content.quarantine.addMissing(other, 'gone'), { kept: 'nowhere', reason: 'gone' })
  t.ok(content.quarantine.has(other))
})
