import { mkdir } from 'node:fs/promises'
import { type Test, test } from 'tap'
import { LocalSink } from '../../../../src/backend/local-sink.ts'
import * as keys from '../../../../src/content/keys.ts'
import { type Digest, digestOf } from '../../../../src/oci/digest.ts'
import { collected, collecting, hour } from '../../../support/collect.ts'
import {
  blobText,
  bodyOf,
  chunkOf,
  describe,
  imageOf,
  indexOf,
  named,
  type Opened,
  openFor,
  pushBlob,
  storeManifest,
  tagged
} from '../../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../../support/storage.ts'

const name = named('some/name')
const other = named('other')
const v1 = tagged('v1')
const image = imageOf('config', ['layer'])
const [config, layer, loose] = ['config', 'layer', 'loose'].map(each => digestOf(Buffer.from(each))) as [Digest, Digest, Digest]

/** Content in which `name` has an image and an unreferenced blob. */
async function opened(t: Test, storage?: Opened['storage']) {
  const all = await openFor(t, storage)
  for (const each of ['config', 'layer', 'loose']) await pushBlob(all.content, name, each)
  const digest = await storeManifest(all.content, name, image, { tags: [v1] })
  return { ...all, digest, sink: new LocalSink(all.content) }
}

test('collect: an unreferenced blob is removed with its link, and a reachable one is kept', async t => {
  const all = await opened(t)
  t.strictSame(await collected(all), [`blob ${loose}`, `link ${loose}`])
  t.equal(await blobText(all.content, name, layer), 'layer')
  t.equal(await blobText(all.content, name, config), 'config')
  t.equal(await blobText(all.content, name, loose), undefined)
  t.strictSame(all.damages, [], 'no link leads to missing bytes')
  t.strictSame(await collected(all), [], 'a second round finds nothing')
})

test('collect: bytes and links within the grace period are kept', async t => {
  const all = await opened(t)
  t.strictSame(await collected(all, { inHours: 0.9 }), [])
  t.equal(await blobText(all.content, name, loose), 'loose')
})

test('collect: a dry run reports what would be removed, and changes nothing', async t => {
  const all = await opened(t)
  const before = await keysBelow(all.storage, 'docker')
  t.strictSame(await collected(all, { dryRun: true }), [`blob ${loose}`, `link ${loose}`])
  t.strictSame(await keysBelow(all.storage, 'docker'), before)
})

test('collect: it ends with the counts of what was removed and marked', async t => {
  const all = await opened(t)
  const events = await Array.fromAsync(collecting(all))
  t.match(events.at(-1), { type: 'done', marked: 3, bytes: 5, removed: { blob: 1, link: 1, manifest: 0 } })
})

test('collect: a blob that one repository no longer needs is unlinked there, and removed when no other needs it', async t => {
  const all = await opened(t)
  for (const each of ['config', 'layer']) await pushBlob(all.content, other, each)
  await storeManifest(all.content, other, image)
  await all.sink.deleteManifest(name, { digest: all.digest })
  await collected(all)
  t.equal(await blobText(all.content, other, layer), 'layer')
  await all.sink.deleteManifest(other, { digest: all.digest })
  await collected(all)
  t.strictSame(await keysBelow(all.storage, 'docker'), [], 'nothing is left at all')
})

test('collect: an index keeps its manifests and their referrers', async t => {
  const all = await opened(t)
  const { content, sink } = all
  const index = await storeManifest(content, name, indexOf([image]), { tags: [tagged('all')] })
  const signature = imageOf('config', ['layer'], { subject: describe(image), annotations: { is: 'a signature' } })
  const signed = await storeManifest(content, name, signature, { subject: all.digest })
  const orphan = await storeManifest(content, name, imageOf('config', ['layer'], { annotations: { is: 'an orphan' } }))
  await sink.deleteManifest(name, { tag: v1 })
  t.strictSame(
    (await collected(all)).filter(each => each.startsWith('manifest')),
    [],
    'by default manifests without a tag stay'
  )
  t.strictSame(
    (await collected(all, { untagged: 3 * hour })).filter(each => each.startsWith('manifest')),
    [],
    'they stay as long as they are younger'
  )
  t.strictSame(
    (await collected(all, { untagged: hour })).filter(each => each.startsWith('manifest')),
    [`manifest ${orphan}`]
  )
  for (const each of [index, all.digest, signed]) t.ok(await content.manifests.get(name, each))
  t.equal(await content.manifests.get(name, orphan), undefined)
  await sink.deleteManifest(name, { digest: index })
  t.strictSame(
    (await collected(all, { untagged: hour })).filter(each => each.startsWith('manifest')),
    [`manifest ${all.digest}`, `manifest ${signed}`].sort()
  )
  t.strictSame((await content.referrers.list(name, all.digest, {})).items, [])
})

test('collect: an untagged manifest that is tagged during the run is kept with what it needs', async t => {
  const all = await opened(t)
  const { content, sink } = all
  await sink.deleteManifest(name, { tag: v1 })
  const run = collecting(all, { untagged: hour, yielder: { step: once(() => sink.putManifest(name, { tag: v1 }, { bytes: image }, [])) } })
  await Array.fromAsync(run)
  t.ok(await content.manifests.get(name, all.digest))
  t.equal(await blobText(content, name, layer), 'layer')
})

test('collect: the descendants of a manifest that is tagged during the run are kept with it', async t => {
  const all = await opened(t)
  const { content, sink } = all
  const inner = indexOf([image])
  const middle = await storeManifest(content, name, inner)
  const signature = imageOf('config', ['layer'], { subject: describe(image) })
  const signed = await storeManifest(content, name, signature, { subject: all.digest })
  await sink.deleteManifest(name, { tag: v1 })
  let steps = 0
  // When all three are seen to leave, and before the first one does.
  const step = async () => void (++steps === 6 && (await sink.putManifest(name, { tag: v1 }, { bytes: indexOf([inner]) }, [])))
  const gone = await collected(all, { untagged: hour, yielder: { step } })
  t.strictSame(
    gone.filter(each => each.startsWith('manifest')),
    []
  )
  for (const each of [middle, all.digest, signed]) t.ok(await content.manifests.get(name, each))
})

test('collect: a manifest that is pushed during the run keeps blobs that were unreferenced before', async t => {
  const all = await openFor(t)
  const sink = new LocalSink(all.content)
  for (const each of ['config', 'layer']) await pushBlob(all.content, name, each)
  // After the marks are set.
  const pushed = once(() => sink.putManifest(name, { tag: v1 }, { bytes: image }, []))
  for await (const event of collecting(all)) if (event.type === 'progress') await pushed()
  t.equal(await blobText(all.content, name, layer), 'layer')
  t.equal(await blobText(all.content, name, config), 'config')
})

test('collect: a head, a mount and a second push make a blob new', async t => {
  for (const use of [
    (all: Awaited<ReturnType<typeof opened>>) => all.content.blobs.statRenewed(name, loose),
    (all: Awaited<ReturnType<typeof opened>>) => all.sink.mountBlob(other, loose, name),
    (all: Awaited<ReturnType<typeof opened>>) => pushBlob(all.content, name, 'loose')
  ]) {
    const all = await opened(t)
    await all.storage.touch([keys.blob(loose)])
    const { utimes } = await import('node:fs/promises')
    await utimes((all.storage as unknown as { path(key: string): string }).path(keys.blob(loose)), 1, 1)
    await use(all)
    t.strictSame(await collected(all, { inHours: 0 }), [])
    t.equal(await blobText(all.content, name, loose), 'loose')
  }
})

test('collect: a blob that is being read is kept until then', async t => {
  const all = await opened(t)
  const blob = await all.content.blobs.open(name, loose)
  t.strictSame(await collected(all), [])
  await blob?.body.close()
  t.strictSame(await collected(all), [`blob ${loose}`, `link ${loose}`])
})

test('collect: a manifest that is damaged or of an unknown kind keeps all that its repository may read, and no more', async t => {
  for (const bytes of ['', '{"schemaVersion":1,"fsLayers":[]}']) {
    const all = await opened(t)
    await pushBlob(all.content, other, 'elsewhere')
    const strange = Buffer.from('{"schemaVersion":1,"fsLayers":[]}')
    const digest = await storeManifest(all.content, name, strange)
    await all.storage.put(keys.blob(digest), Buffer.from(bytes))
    const restarted = await openFor(t, all.storage)
    const events = await Array.fromAsync(collecting(restarted))
    t.match(
      events.filter(each => each.type === 'unclear'),
      [{ name, digest }]
    )
    t.equal(await blobText(restarted.content, name, loose), 'loose')
    t.equal(await blobText(restarted.content, other, digestOf(Buffer.from('elsewhere'))), undefined)
  }
})

test('collect: a manifest that cannot be read for an I/O error ends the run before anything is removed', async t => {
  const disk = await openStorage(t)
  let failing = false
  const all = await opened(
    t,
    watchStorage(disk, (call, key) => {
      if (failing && call === 'get' && key === keys.blob(digestOf(image))) throw Object.assign(new Error('EIO'), { code: 'EIO' })
    })
  )
  const restarted = await openFor(t, all.storage)
  failing = true
  await t.rejects(collected(restarted), { code: 'EIO' })
  failing = false
  t.equal(await blobText(restarted.content, name, loose), 'loose')
})

test('collect: debris is removed, and a repository with nothing in it', async t => {
  const all = await opened(t)
  const path = (key: string) => (all.storage as unknown as { path(key: string): string }).path(key)
  const entry = keys.tagIndexEntry(name, tagged('v2'), all.digest)
  await all.storage.put(entry, Buffer.from(all.digest))
  await mkdir(path(`${keys.tags(name)}/v3/index/sha256`), { recursive: true })
  await mkdir(path(`${keys.uploads(other)}/00000000-0000-4000-8000-000000000000`), { recursive: true })
  await mkdir(path(`${keys.blobs}/sha256/ab/${'ab'.repeat(32)}`), { recursive: true })
  const session = await all.content.uploads.start(named('third'))
  const gone = await collected(all)
  t.strictSame(
    gone.filter(each => !each.startsWith('link') && !each.startsWith('blob')),
    ['repository other', 'tag v2', 'tag v3', 'upload other']
  )
  t.strictSame(await Array.fromAsync(all.content.names.all()), [name, 'third'])
  await session.append(chunkOf(bodyOf('goes on')))
  await session.finish(digestOf(Buffer.from('goes on')))
  t.strictSame(await Array.fromAsync(all.storage.walk(keys.tags(name)), each => each.name), ['v1'])
  t.strictSame(await Array.fromAsync(all.storage.walk(`${keys.blobs}/sha256/ab`)), [])
})

test('collect: a blob that is stored under another digest than it was pushed by is kept with its link', async t => {
  const all = await opened(t)
  const long = digestOf(Buffer.from('loose'), 'sha512')
  await all.content.commit.linkBlob(name, long, { target: loose })
  await all.content.commit.unlinkBlob(name, loose)
  await storeManifest(all.content, name, imageOf('config', [], { layers: [{ ...describe('loose'), digest: long }] }))
  t.strictSame(await collected(all), [])
  t.equal(await blobText(all.content, name, long), 'loose')
})

test('collect: it can be cancelled and started again', async t => {
  const all = await opened(t)
  for await (const event of collecting(all)) if (event.type === 'remove') break
  t.strictSame(await collected(all), [`blob ${loose}`])
  t.strictSame(all.damages, [])
})

function once(task: () => Promise<unknown>): () => Promise<void> {
  let done = false
  return async () => {
    if (done) return
    done = true
    await task()
  }
}
