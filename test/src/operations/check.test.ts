import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { bodyOf, chunkOf, describe, imageOf, indexOf, named, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { keysBelow, textOf } from '../../support/storage.ts'
import { found, name, pushImage, treeFor } from './scene.ts'

const referrerOf = (subject: { digest: string; size: number }) => ({ subject: { mediaType: 'application/json', ...subject } })

test('check: missing bytes are reported, and known-bad until they are pushed again', async t => {
  const tree = await treeFor(t)
  const { layer } = await pushImage(tree.content)
  await tree.storage.remove([keys.blob(layer)])
  const { damaged } = await found(tree)
  t.match(damaged, [{ kind: 'link', digest: layer, names: [name], action: 'reported', reason: 'the blob has no bytes' }])
  t.match(tree.content.quarantine.list(), [{ digest: layer, kept: 'nowhere' }])
  await pushImage(tree.content)
  t.strictSame(tree.content.quarantine.list(), [])
})

test('check: bytes of cached content that are gone are no damage: the next pull fetches them', async t => {
  const tree = await treeFor(t)
  const digest = await pushBlob(tree.content, name, 'cached')
  await tree.content.provenance.set(name, digest, 'upstream.test')
  await tree.storage.remove([keys.blob(digest)])
  const { damaged, warnings } = await found(tree)
  t.strictSame(damaged, [])
  t.match(warnings, [{ kind: 'link', digest }])
  t.equal(tree.content.quarantine.has(digest), false)
})

for (const text of ['', 'sha256:short', digestOf(Buffer.from('another'))]) {
  test(`check: a link that holds ${JSON.stringify(text.slice(0, 20))} is reported`, async t => {
    const tree = await treeFor(t)
    const digest = await pushBlob(tree.content, name, 'blob')
    await tree.storage.put(keys.layer(name, digest), Buffer.from(text))
    t.match((await found(tree)).damaged, [{ kind: 'link', digest, names: [name], action: 'reported' }])
  })
}

test('check: a blob that an index lists is no missing manifest, and one that is gone is named as a blob', async t => {
  const tree = await treeFor(t)
  await pushBlob(tree.content, name, 'layer')
  const foreign = describe('elsewhere', { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })
  await storeManifest(tree.content, name, indexOf([], { manifests: [describe('layer'), foreign] }))
  t.strictSame((await found(tree)).warnings, [])
  const digest = await storeManifest(tree.content, name, indexOf([], { manifests: [describe('missing')] }))
  t.match((await found(tree)).warnings, [
    { kind: 'blob', digest: digestOf(Buffer.from('missing')), reason: `${digest} refers to it, but it is not stored` }
  ])
})

test('check: a tag whose manifest is gone is reported, and so is one that holds no digest', async t => {
  const tree = await treeFor(t)
  const { manifest } = await pushImage(tree.content)
  await tree.storage.remove([keys.revision(name, manifest)])
  await tree.storage.put(keys.tag(name, tagged('empty')), Buffer.alloc(0))
  t.match((await found(tree)).damaged, [
    { kind: 'tag', tag: 'empty', action: 'reported', reason: 'the tag holds no digest' },
    { kind: 'tag', tag: 'v1', digest: manifest, names: [name], action: 'reported' }
  ])
})

test('check: an index of referrers that was lost is written anew', async t => {
  const tree = await treeFor(t)
  const subject = await pushImage(tree.content)
  const more = referrerOf({ digest: subject.manifest, size: subject.bytes.length })
  const bytes = imageOf('config of v1', [], more)
  const digest = await storeManifest(tree.content, name, bytes, { subject: subject.manifest })
  await tree.storage.remove([keys.referrer(name, subject.manifest, digest)], keys.repository(name))
  t.match(await found(tree), { damaged: [{ kind: 'referrer', digest, action: 'rebuilt' }], done: { damaged: 1, mended: 1 } })
  t.match(await tree.content.referrers.list(name, subject.manifest, {}), { items: [{ digest }] })
  t.equal(await textOf(tree.storage, keys.referrer(name, subject.manifest, digest)), digest)
  t.match(await found(tree), { damaged: [] })
})

test('check: an entry of a manifest that is gone, or refers to another, is taken out', async t => {
  const tree = await treeFor(t)
  const { manifest } = await pushImage(tree.content)
  const gone = digestOf(Buffer.from('gone'))
  await tree.storage.put(keys.referrer(name, manifest, gone), Buffer.from(gone))
  await tree.storage.put(keys.referrer(name, gone, manifest), Buffer.from('nonsense'))
  const { damaged } = await found(tree)
  const told = new Set(damaged.map(({ kind, digest, action }) => `${kind} ${digest} ${action}`))
  t.strictSame(told, new Set([gone, manifest].map(digest => `referrer ${digest} removed`)))
  t.equal(damaged.length, 2)
  t.strictSame(
    (await keysBelow(tree.storage, keys.repository(name))).filter(key => key.includes('_referrers')),
    []
  )
})

test('check: of a referrer whose bytes are damaged nothing is taken out', async t => {
  const tree = await treeFor(t)
  const subject = await pushImage(tree.content)
  const bytes = imageOf('config of v1', [], referrerOf({ digest: subject.manifest, size: subject.bytes.length }))
  const digest = await storeManifest(tree.content, name, bytes, { subject: subject.manifest })
  await tree.storage.put(keys.blob(digest), Buffer.from('{}'))
  await found(tree)
  t.ok(await tree.storage.stat(keys.referrer(name, subject.manifest, digest)))
})

test('check: missing parts of a pushed index are a warning, those of a cached one are not', async t => {
  const tree = await treeFor(t)
  const image = imageOf('never pushed', [])
  const index = await storeManifest(tree.content, name, indexOf([image]))
  t.match(await found(tree), { damaged: [], warnings: [{ kind: 'manifest', digest: digestOf(image), names: [name] }] })
  await tree.content.provenance.set(name, index, 'upstream.test')
  t.strictSame((await found(tree)).warnings, [])
})

test('check: a blob that a manifest names and its repository has no link to is a warning', async t => {
  const tree = await treeFor(t)
  const { layer } = await pushImage(tree.content)
  await tree.content.commit.unlinkBlob(name, layer)
  t.match((await found(tree)).warnings, [{ kind: 'blob', digest: layer }])
})

test('check: expired upload sessions are removed, others stay', async t => {
  const tree = await treeFor(t)
  const [old, young] = [await tree.content.uploads.start(name), await tree.content.uploads.start(named('young'))]
  await old.append(chunkOf(bodyOf('bytes')))
  const later = { ...tree, now: () => Date.now() + tree.uploadIdleMs + 1_000 }
  t.strictSame((await found(tree)).damaged, [])
  t.match((await found(later, { name: undefined as never })).damaged, [
    { kind: 'upload', session: old.id, names: [name], action: 'removed' },
    { kind: 'upload', session: young.id, action: 'removed' }
  ])
  t.strictSame(await keysBelow(tree.storage, keys.uploads(name)), [])
})

test('check: the empty session of a crash is removed, and what is no session is left alone', async t => {
  const tree = await treeFor(t)
  await pushBlob(tree.content, name, 'blob')
  const empty = `${keys.uploads(name)}/0c3e6f57-8b0c-4dfd-9b4a-0d8a3a2f4c11`
  await tree.storage.ensurePrefix(`${empty}/hashstates`)
  await tree.storage.put(`${keys.uploads(name)}/notes/mine`, Buffer.from('x'))
  const { damaged, warnings } = await found(tree)
  t.match(damaged, [{ kind: 'upload', action: 'removed', reason: 'it is empty' }])
  t.match(warnings, [{ kind: 'upload', session: 'notes' }])
  t.strictSame(await keysBelow(tree.storage, keys.uploads(name)), [`${keys.uploads(name)}/notes/mine`])
})
