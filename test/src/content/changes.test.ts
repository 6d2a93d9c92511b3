import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { Change } from '../../../src/content/changes.ts'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Storage } from '../../../storage/storage.ts'
import { collecting, hour } from '../../support/collect.ts'
import { describe, imageOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'

const name = named('some/name')
const at = 1_000
const upstream = 'registry.example/path'
const bytes = imageOf('config', ['layer'])
const digest = digestOf(bytes)
const other = imageOf('other', [])
const otherDigest = digestOf(other)
const tag = tagged('v1')
const cached = { upstream, digest, checked: at }
const full = (): Error => Object.assign(new Error('full'), { code: 'ENOSPC' })

/** Content whose changes are recorded. */
async function noted(t: Test, storage?: Storage) {
  const changes: Change[] = []
  const opened = await openFor(t, storage, { now: () => at, onChange: change => void changes.push(change) })
  return { ...opened, changes, taken: () => changes.splice(0) }
}

test('changes: blob-linked, when a blob is pushed, cached or mounted', async t => {
  const { content, taken } = await noted(t)
  const blob = await pushBlob(content, name, 'x')
  t.strictSame(taken(), [{ at, name, kind: 'blob-linked', digest: blob }])
  await content.commit.linkBlob(named('mounted'), blob)
  t.strictSame(taken(), [{ at, name: 'mounted', kind: 'blob-linked', digest: blob }])
  await content.commit.linkBlob(named('cached'), blob, { upstream })
  t.strictSame(taken(), [{ at, name: 'cached', kind: 'blob-linked', digest: blob, upstream }])
})

test('changes: blob-unlinked, and from where it had been cached', async t => {
  const { content, taken } = await noted(t)
  const blob = await pushBlob(content, name, 'x')
  await content.commit.linkBlob(named('cached'), blob, { upstream })
  taken()
  await content.commit.unlinkBlob(name, blob)
  await content.commit.unlinkBlob(named('cached'), blob)
  t.strictSame(taken(), [
    { at, name, kind: 'blob-unlinked', digest: blob },
    { at, name: 'cached', kind: 'blob-unlinked', digest: blob, upstream }
  ])
  await content.commit.unlinkBlob(name, blob)
  t.strictSame(taken(), [], 'there was none')
})

test('changes: manifest-linked and tag-set, each tag with what it named before', async t => {
  const { content, taken } = await noted(t)
  await storeManifest(content, name, bytes, { tags: [tag] })
  t.strictSame(taken(), [
    { at, name, kind: 'manifest-linked', digest },
    { at, name, kind: 'tag-set', digest, tag }
  ])
  await storeManifest(content, name, other, { tags: [tag, tagged('v2')] })
  t.strictSame(taken(), [
    { at, name, kind: 'manifest-linked', digest: otherDigest },
    { at, name, kind: 'tag-set', digest: otherDigest, tag, old: digest },
    { at, name, kind: 'tag-set', digest: otherDigest, tag: 'v2' }
  ])
})

test('changes: manifest-linked and tag-set of what was cached have its upstream', async t => {
  const { content, taken } = await noted(t)
  await content.commit.putManifest(name, digest, bytes, { tags: [tag], provenance: cached })
  t.strictSame(taken(), [
    { at, name, kind: 'manifest-linked', digest, upstream },
    { at, name, kind: 'tag-set', digest, tag, upstream }
  ])
})

test('changes: tag-removed, whether a client or upstream removed it', async t => {
  const { content, taken } = await noted(t)
  await storeManifest(content, name, bytes, { tags: [tag] })
  await content.commit.putManifest(named('cached'), digest, bytes, { tags: [tag], provenance: cached })
  taken()
  await content.commit.removeTag(name, tag)
  await content.commit.removeCachedTag(named('cached'), tag)
  t.strictSame(taken(), [
    { at, name, kind: 'tag-removed', digest, tag },
    { at, name: 'cached', kind: 'tag-removed', digest, tag, upstream }
  ])
  await content.commit.removeTag(name, tag)
  await content.commit.removeCachedTag(named('cached'), tag)
  t.strictSame(taken(), [], 'there was none')
})

test('changes: manifest-removed, after tag-removed of each of its tags', async t => {
  const { content, taken } = await noted(t)
  await storeManifest(content, name, bytes, { tags: ['a', 'b'].map(tagged) })
  await storeManifest(content, name, other, { tags: [tagged('b')] })
  taken()
  await content.commit.removeManifest(name, digest, undefined)
  t.strictSame(taken(), [
    { at, name, kind: 'tag-removed', digest, tag: 'a' },
    { at, name, kind: 'manifest-removed', digest }
  ])
})

test('changes: none where nothing changes', async t => {
  const storage = await openStorage(t)
  const { content, taken } = await noted(t, storage)
  const subject = await storeManifest(content, name, other)
  const referrer = imageOf('referrer', [], { subject: describe(other, { mediaType: 'application/vnd.oci.image.manifest.v1+json' }) })
  const blob = await pushBlob(content, name, 'x')
  await storeManifest(content, name, bytes, { tags: [tag] })
  await storeManifest(content, name, referrer, { subject })
  const there = named('cached')
  await content.commit.linkBlob(there, blob, { upstream })
  await content.commit.putManifest(there, digest, bytes, { tags: [tag], provenance: cached })
  taken()
  await pushBlob(content, name, 'x')
  await content.commit.linkBlob(name, blob)
  await storeManifest(content, name, bytes, { tags: [tag] })
  t.strictSame(taken(), [], 'pushed again')
  await content.commit.linkBlob(name, blob, { upstream })
  await content.commit.putManifest(name, digest, bytes, { tags: [tag], provenance: cached })
  t.strictSame(taken(), [], 'cached what had been pushed')
  await content.commit.linkBlob(there, blob, { upstream })
  await content.commit.putManifest(there, digest, bytes, { tags: [tag], provenance: { ...cached, checked: at + 1 } })
  await content.commit.renewCachedTag(there, tag, { ...cached, checked: at + 2 })
  t.strictSame(taken(), [], 'cached again, and confirmed by upstream')
  await storage.remove([keys.referrer(name, subject, digestOf(referrer))])
  t.equal(await content.commit.indexReferrer(name, subject, digestOf(referrer)), 'added')
  t.strictSame(taken(), [], 'the index of referrers was repaired')
  const restarted = await noted(t, storage)
  await storeManifest(restarted.content, name, bytes, { tags: [tag] })
  t.strictSame(restarted.taken(), [], 'pushed again after a restart')
})

test('changes: none by garbage collection', async t => {
  const { content, storage, taken } = await noted(t)
  await pushBlob(content, name, 'unreferenced')
  await storeManifest(content, name, other)
  taken()
  const removed = (await Array.fromAsync(collecting({ content, storage }, { untagged: hour }))).filter(each => each.type === 'remove')
  t.ok(removed.some(each => each.kind === 'link') && removed.some(each => each.kind === 'manifest'))
  t.strictSame(taken(), [])
})

test('changes: cached content that is pushed is a change, once', async t => {
  const { content, taken } = await noted(t)
  await content.commit.linkBlob(name, await pushBlob(content, named('other'), 'x'), { upstream })
  await content.commit.putManifest(name, digest, bytes, { tags: [tag], provenance: cached })
  taken()
  const pushAgain = async () => {
    await pushBlob(content, name, 'x')
    await storeManifest(content, name, bytes, { tags: [tag] })
  }
  await pushAgain()
  t.strictSame(taken(), [
    { at, name, kind: 'blob-linked', digest: digestOf(Buffer.from('x')) },
    { at, name, kind: 'manifest-linked', digest },
    { at, name, kind: 'tag-set', digest, tag, old: digest }
  ])
  await pushAgain()
  t.strictSame(taken(), [])
})

test('changes: sets of one tag at once come in the order in which they took effect', async t => {
  const { content, taken } = await noted(t)
  const all = Array.from({ length: 12 }, (_, each) => imageOf(`${each}`, []))
  await Promise.all(all.map(each => storeManifest(content, name, each, { tags: [tag] })))
  const sets = taken().flatMap(change => (change.kind === 'tag-set' ? [change] : []))
  t.equal(sets.length, all.length)
  t.strictSame(
    sets.map(each => each.old),
    [undefined, ...sets.slice(0, -1).map(each => each.digest)]
  )
  t.equal(await content.tags.resolve(name, tag), sets.at(-1)?.digest)
})

test('changes: links and unlinks of one blob at once come in the order in which they took effect', async t => {
  const { content, taken } = await noted(t)
  const blob = await pushBlob(content, named('other'), 'x')
  taken()
  const work = Array.from({ length: 20 }, (_, each) =>
    each % 3 === 2 ? content.commit.unlinkBlob(name, blob) : content.commit.linkBlob(name, blob)
  )
  await Promise.all(work)
  const kinds = taken().map(each => each.kind)
  kinds.forEach((kind, each) => void t.equal(kind, each % 2 === 0 ? 'blob-linked' : 'blob-unlinked'))
  t.equal((await content.blobs.linked(name, blob)) !== undefined, kinds.at(-1) === 'blob-linked')
})

test('changes: a write or a removal that failed gives none, and the retry that succeeds gives it', async t => {
  let failing = true
  const below = await openStorage(t)
  const blob = digestOf(Buffer.from('x'))
  const links = [keys.layer(name, blob), keys.revision(name, digest), keys.tag(name, tag)]
  const refused = (call: string, key: string) => (call === 'put' || call === 'remove') && links.includes(key) && failing
  const { content, taken } = await noted(
    t,
    watchStorage(below, (call, key) => {
      if (refused(call, key)) throw full()
    })
  )
  const kinds = async (work: () => Promise<unknown>) => {
    failing = true
    await t.rejects(work(), { code: 'ENOSPC' })
    t.strictSame(taken(), [])
    failing = false
    await work()
    return taken().map(each => each.kind)
  }
  t.strictSame(await kinds(() => pushBlob(content, name, 'x')), ['blob-linked'])
  t.strictSame(await kinds(() => storeManifest(content, name, bytes)), ['manifest-linked'])
  // The manifest is linked already, so that it is the tag that fails.
  t.strictSame(await kinds(() => storeManifest(content, name, bytes, { tags: [tag] })), ['tag-set'])
  t.strictSame(await kinds(() => content.commit.removeTag(name, tag)), ['tag-removed'])
  t.strictSame(await kinds(() => content.commit.removeManifest(name, digest, undefined)), ['manifest-removed'])
  t.strictSame(await kinds(() => content.commit.unlinkBlob(name, blob)), ['blob-unlinked'])
})

test('changes: a write that failed after it took effect gives its change, since a retry finds nothing to change', async t => {
  const below = await openStorage(t)
  const link = keys.revision(name, digest)
  let failing = true
  const late: Storage = watchStorage(below, async (call, key) => {
    if (call !== 'put' || key !== link || !failing) return
    failing = false
    await below.put(link, Buffer.from(digest))
    throw full()
  })
  const { content, taken } = await noted(t, late)
  await t.rejects(storeManifest(content, name, bytes), { code: 'ENOSPC' })
  t.strictSame(taken(), [{ at, name, kind: 'manifest-linked', digest }])
  await storeManifest(content, name, bytes)
  t.strictSame(taken(), [])
})

test('changes: cached content that becomes pushed is a change even if the rest of the push fails, since a retry finds it pushed', async t => {
  const below = await openStorage(t)
  let failing = false
  const watched = watchStorage(below, (call, key) => {
    if (failing && call === 'put' && key === keys.revision(name, digest)) throw full()
  })
  const { content, taken } = await noted(t, watched)
  await content.commit.putManifest(name, digest, bytes, { tags: [], provenance: cached })
  taken()
  failing = true
  await t.rejects(storeManifest(content, name, bytes), { code: 'ENOSPC' })
  t.equal(await content.provenance.get(name, digest), undefined)
  t.strictSame(taken(), [{ at, name, kind: 'manifest-linked', digest }])
  failing = false
  await storeManifest(content, name, bytes)
  t.strictSame(taken(), [])
})

test('changes: each is delivered when it has taken effect, and before the request ends', async t => {
  const delivery = Promise.withResolvers<void>()
  const found: unknown[] = []
  const opened = await openFor(t, undefined, {
    onChange: async change => {
      if (change.kind !== 'tag-set') return
      found.push(await opened.content.tags.resolve(name, tag), await opened.storage.get(keys.tag(name, tag)))
      await delivery.promise
    }
  })
  let ended = false
  const request = storeManifest(opened.content, name, bytes, { tags: [tag] }).then(() => {
    ended = true
  })
  while (found.length === 0) await setImmediate()
  for (let turn = 0; turn < 10; turn++) await setImmediate()
  t.notOk(ended, 'the journal is not durable yet')
  delivery.resolve()
  await request
  t.strictSame(found, [digest, Buffer.from(digest)])
})

test('changes: a listener that rejects fails the request, and gets the change again before the next one', async t => {
  const delivered: Change[] = []
  let failing = true
  const { content } = await openFor(t, undefined, {
    now: () => at,
    onChange: async change => {
      if (failing) throw new Error('the journal is full')
      delivered.push(change)
    }
  })
  const linked = { at, name, kind: 'manifest-linked', digest }
  await t.rejects(storeManifest(content, name, bytes, { tags: [tag] }), { message: 'the journal is full' })
  t.ok(await content.manifests.get(name, digest), 'it stays in effect')
  t.equal(await content.tags.resolve(name, tag), undefined, 'what follows was not done')
  await t.rejects(storeManifest(content, name, bytes, { tags: [tag] }), { message: 'the journal is full' }, 'the retry too')
  failing = false
  await storeManifest(content, name, bytes, { tags: [tag] })
  t.strictSame(delivered, [linked, { at, name, kind: 'tag-set', digest, tag }])

  failing = true
  await t.rejects(pushBlob(content, name, 'x'), { message: 'the journal is full' })
  failing = false
  const blob = await pushBlob(content, name, 'x')
  t.strictSame(delivered.splice(0).slice(2), [{ at, name, kind: 'blob-linked', digest: blob }])
})

// A cached blob may be evicted, and one that was pushed must not be.
test('changes: a blob that is pushed while it is cached stays pushed', async t => {
  const below = await openStorage(t)
  const link = keys.layer(name, digestOf(Buffer.from('x')))
  const record = keys.provenanceRecord(name, digestOf(Buffer.from('x')))
  const recording = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  const watched = watchStorage(below, async (call, key) => {
    if (call !== 'put soon' || key !== record) return
    recording.resolve()
    await go.promise
  })
  const { content } = await openFor(t, watched)
  const blob = await pushBlob(content, named('other'), 'x')
  const caching = content.commit.linkBlob(name, blob, { upstream })
  await recording.promise
  const push = content.commit.linkBlob(name, blob)
  // The push waits for the other; without a mutex it would end now, before the record is written.
  for (let turn = 0; turn < 200 && (await below.stat(link)) === undefined; turn++) await setImmediate()
  go.resolve()
  await Promise.all([caching, push])
  t.equal(await content.provenance.get(name, blob), undefined)
})
