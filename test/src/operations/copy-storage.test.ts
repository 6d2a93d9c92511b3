import { test } from 'tap'
import { openContent } from '../../../src/content/content.ts'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { copyStorage, type StorageCopyEvent } from '../../../src/operations/copy-storage.ts'
import type { Storage } from '../../../storage/storage.ts'
import { blobText, imageOf, named, neverAborted, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { openS3, startS3 } from '../../support/s3-server.ts'
import { listed, openStorage, watchStorage } from '../../support/storage.ts'
import { openFiles } from '../support.ts'

const name = named('a/b')
const layers = ['one', 'two', 'three', 'x'.repeat(100_000)]

async function fill(storage: Storage): Promise<void> {
  const { content } = { content: openContent(storage, () => {}) }
  for (const layer of ['config', ...layers]) await pushBlob(content, name, layer)
  await storeManifest(content, name, imageOf('config', layers), { tags: [tagged('v1'), tagged('v1-a')] })
  await content.provenance.set(name, digestOf(Buffer.from('one')), 'registry.test/x')
  await content.uploads.start(name)
}

const copy = (from: Storage, to: Storage, signal = neverAborted): Promise<StorageCopyEvent[]> =>
  Array.fromAsync(copyStorage(from, to, signal))

/** The content of a registry in a storage, as `<key> <size>`. */
async function kept(storage: Storage): Promise<string[]> {
  const all = [...(await listed(storage, 'docker')), ...(await listed(storage, keys.provenance))]
  return all.filter(each => !each.key.includes('/_uploads/')).map(({ key, size }) => `${key} ${size}`)
}

test('copy-storage: everything is copied from a directory to a bucket and back, and a second run copies nothing', async t => {
  const server = await startS3(t)
  if (!server) return
  const [disk, bucket, back] = [await openStorage(t), await openS3(t, server), await openStorage(t)]
  await fill(disk)
  const events = await copy(disk, bucket)
  t.match(events.at(-1), { type: 'done', damaged: 0, present: 0 })
  t.match(events.at(-2), { type: 'progress', unit: 'bytes' })
  t.strictSame(await kept(bucket), await kept(disk))
  t.match((await copy(bucket, back)).at(-1), { type: 'done', damaged: 0, present: 0 })
  t.strictSame(await kept(back), await kept(disk))
  t.equal(
    await blobText(
      openContent(back, () => {}),
      name,
      digestOf(Buffer.from('two'))
    ),
    'two'
  )
  t.match((await copy(disk, bucket)).at(-1), { copied: 0, bytes: 0 })
})

test('copy-storage: interrupted at any call, the target has no dangling link, and the next run resumes', async t => {
  const disk = await openStorage(t)
  await fill(disk)
  for (let calls = 1, done = false; !done; calls++) {
    const below = await openStorage(t)
    const stop = new AbortController()
    let left = calls
    const target = watchStorage(below, call => {
      if (['create', 'publish', 'put'].includes(call) && left-- === 0) throw new Error('interrupted')
    })
    done = await copy(disk, target, stop.signal).then(
      () => true,
      () => false
    )
    const damages: string[] = []
    const content = openContent(below, key => damages.push(key))
    for await (const { digest } of content.tags.all(name)) {
      t.ok(await content.manifests.get(name, digest))
      for (const layer of layers) t.equal(await content.blobs.stat(name, digestOf(Buffer.from(layer))), layer.length)
    }
    t.strictSame(damages, [])
    await copy(disk, below)
    if ((await kept(below)).join() !== (await kept(disk)).join()) t.fail(`after ${calls} calls`)
  }
})

test('copy-storage: a damaged blob is reported and left out, and all else is copied', async t => {
  const [{ content, storage }, target] = [await openFor(t), await openStorage(t)]
  await fill(storage)
  const digest = await pushBlob(content, name, 'damaged')
  await storage.put(keys.blob(digest), Buffer.from('DAMAGED'))
  const events = await copy(storage, target)
  t.match(
    events.filter(each => each.type === 'damaged'),
    [{ key: keys.blob(digest) }]
  )
  t.match(events.at(-1), { type: 'done', damaged: 1 })
  t.equal(await target.stat(keys.blob(digest)), undefined)
  t.equal(
    await blobText(
      openContent(target, () => {}),
      name,
      digestOf(Buffer.from('two'))
    ),
    'two'
  )
})

test('copy-storage: a consumer that returns early leaves nothing of the blob under way', async t => {
  const [disk, target] = [await openStorage(t), await openStorage(t)]
  await fill(disk)
  const stop = new AbortController()
  const watched = watchStorage(target, call => {
    if (call === 'write') stop.abort(new Error('enough'))
  })
  await t.rejects(copy(disk, watched, stop.signal), { message: 'enough' })
  t.ok((await listed(target, 'docker')).length <= 1)
  t.strictSame(await listed(target, '.registry/tmp'), [])
})

test('copy-storage: where the target takes nothing no file of the source stays open', async t => {
  const root = await temporaryDirectory(t)
  const [disk, target] = [await openStorage(t, root), await openStorage(t)]
  await fill(disk)
  const watched = watchStorage(target, call => {
    if (call === 'create') throw new Error('no room')
  })
  await t.rejects(copy(disk, watched), { message: 'no room' })
  t.strictSame(await openFiles(root), [])
})

test('copy-storage: temp files of an interrupted copy are removed by the next one', async t => {
  const [disk, target] = [await openStorage(t), await openStorage(t)]
  await fill(disk)
  await copy(disk, target)
  await target.put('.registry/tmp/copy-sha256-00/parts/0', Buffer.from('x'))
  await copy(disk, target)
  t.strictSame(await listed(target, '.registry/tmp'), [])
})
