import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { inspectBlob, inspectManifest } from '../../../src/why/inspect.ts'
import { imageOf as imageWith, named, openFor, pushBlob as pushInto, storeManifest } from '../../support/content.ts'
import { openStorage, watchStorage } from '../../support/storage.ts'
import {
  ask,
  bytesOf,
  dataPath,
  digestOf,
  imageOf,
  indexType,
  layerPath,
  pushBlob,
  pushImage,
  putManifest,
  type Served
} from '../support.ts'
import { host, inFront, own, path, serveWith, verifiedOf } from './scene.ts'

/** Pushes an index of one image; gives the digests. */
async function pushIndex(registry: Served) {
  const [config, layer] = [bytesOf(16), bytesOf(100)]
  for (const each of [config, layer]) await pushBlob(registry, own, each)
  const image = imageOf([config, layer])
  await putManifest(registry, own, digestOf(image), image)
  const entry = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(image), size: image.length }
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [entry] })
  const { status } = await putManifest(registry, own, 'v1', index, indexType)
  if (status !== 201) throw new Error(`PUT of an index answered ${status}`)
  return { index: digestOf(index), image: digestOf(image), layer: digestOf(layer), bytes: index.length + image.length + 116 }
}

test('a reference is complete when its index, manifests and blobs are here', async t => {
  const registry = await serveWith(t, {})
  const { index, bytes } = await pushIndex(registry)
  t.strictSame(await verifiedOf(registry, [`${host}/${own}:v1`]), [
    { reference: `${host}/${own}:v1`, complete: true, digest: index, manifests: 2, blobs: 2, bytes, lacks: [] }
  ])
})

test('a blob whose bytes are gone makes every reference to it incomplete', async t => {
  const registry = await serveWith(t, {})
  const { layer } = await pushIndex(registry)
  rmSync(layerPath(registry.root, own, layer))
  rmSync(dataPath(registry.root, layer))
  const lacks = [{ kind: 'blob', digest: layer, size: 100 }]
  t.match(await verifiedOf(registry, [`${own}:v1`, `${own}:v1`]), [
    { complete: false, lacks },
    { complete: false, lacks }
  ])
})

test('a manifest of an index that lost its end is damaged', async t => {
  const registry = await serveWith(t, {})
  const { image } = await pushIndex(registry)
  const { root } = registry
  truncateSync(dataPath(root, image), 9)
  await registry.stop()
  const again = await serveWith(t, { root })
  t.match(await verifiedOf(again, [`${own}:v1`]), [
    { complete: false, manifests: 1, blobs: 0, lacks: [{ kind: 'manifest', digest: image, state: 'damaged' }] }
  ])
})

test('a blob of the right size and wrong bytes is found by computing digests, and only then', async t => {
  const registry = await serveWith(t, {})
  const { layer } = await pushIndex(registry)
  const bytes = readFileSync(dataPath(registry.root, layer))
  bytes[0] = (bytes[0] ?? 0) ^ 1
  writeFileSync(dataPath(registry.root, layer), bytes)
  t.match(await verifiedOf(registry, [`${own}:v1`]), [{ complete: true }])
  t.match(await verifiedOf(registry, [`${own}:v1`], 'digest'), [
    { complete: false, lacks: [{ kind: 'blob', digest: layer, state: 'damaged' }] }
  ])
})

test('a truncated blob is damaged by its size although the other manifests of its repository are not read yet', async t => {
  const storage = await openStorage(t)
  const { content: before } = await openFor(t, storage)
  const name = named(own)
  const layer = await pushInto(before, name, 'a layer')
  // Manifests are read in the order of their digests, some at once: the last one would have to wait for all others.
  const images = Array.from({ length: 40 }, (_, at) => imageWith(`config ${at}`, ['a layer']))
  const digests = (await Promise.all(images.map(each => storeManifest(before, name, each)))).sort()
  const [image = layer] = digests.splice(-1)
  truncateSync(dataPath(storage.root, layer), 3)
  const disk = Promise.withResolvers<void>()
  t.teardown(disk.resolve)
  const slow = new Set(digests.map(each => keys.blob(each)))
  const watched = watchStorage(storage, (call, key) => (call === 'get' && slow.has(key) ? disk.promise : undefined))
  const { content } = await openFor(t, watched)
  const { inspection } = await inspectManifest({ content, storage: watched }, name, image, 'size')
  t.match(inspection, { state: 'here' })
  t.strictSame(await inspectBlob(content, name, layer, 'size'), { state: 'damaged', damage: 'noticed' })
})

test('a reference that cannot be verified does not keep the others from it', async t => {
  const registry = await serveWith(t, {})
  await pushImage(registry, own, 'v1')
  t.match(await verifiedOf(registry, [`${own}:gone`, 'a b', 'elsewhere.test/a:v1', `${own}:v1`]), [
    { complete: false, lacks: [{ kind: 'tag', state: 'missing' }] },
    { complete: false, fault: /not the name/ },
    { complete: false, fault: /does not serve that host/ },
    { complete: true }
  ])
})

test('Proxy: content that is only upstream is missing, and no request is sent', async t => {
  const { registry, upstream } = await inFront(t)
  const { layer, digest } = upstream.addImage(path, 'v1')
  await ask(registry.listen, 'GET', `/v2/${own}/manifests/v1`)
  const asked = upstream.requests.length
  t.match(await verifiedOf(registry, [`${own}:v1`]), [{ complete: false, digest, manifests: 1, blobs: 0, lacks: [{}, { digest: layer }] }])
  t.equal(upstream.requests.length, asked)
})

test('an index that is nested too deep has a fault, and the other references are verified', async t => {
  const registry = await serveWith(t, {})
  const { index } = await pushIndex(registry)
  let manifests: object[] = []
  for (let level = 0; level < 102; level++) {
    const bytes = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests })
    const { status } = await putManifest(registry, own, level === 101 ? 'deep' : digestOf(bytes), bytes, indexType)
    if (status !== 201) throw new Error(`PUT of level ${level} answered ${status}`)
    manifests = [{ mediaType: indexType, digest: digestOf(bytes), size: bytes.length }]
  }
  t.match(await verifiedOf(registry, [`${own}:deep`, `${own}:v1`]), [
    { complete: false, fault: /nested too deep/ },
    { complete: true, digest: index }
  ])
})
