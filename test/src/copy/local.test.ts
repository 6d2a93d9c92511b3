import { test } from 'tap'
import { LocalBackend } from '../../../src/backend/local.ts'
import { LocalSink } from '../../../src/backend/local-sink.ts'
import { copy } from '../../../src/copy/copy.ts'
import type { CopyEvent } from '../../../src/copy/events.ts'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Chunk, UploadSession } from '../../../src/oci/sink.ts'
import { blobText, describe, imageOf, indexOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { never } from '../upstream/ask.ts'

const name = named('some/app')
const tag = tagged('v1')

test('copy: from one store into another, without HTTP, and tags of its own choice', async t => {
  const [from, to] = [await openFor(t), await openFor(t)]
  const bytes = imageOf('config', ['layer', ''])
  for (const each of ['config', 'layer', '']) await pushBlob(from.content, name, each)
  await storeManifest(from.content, name, bytes, { tags: [tag] })
  const source = new LocalBackend(from.content, new LocalSink(from.content))
  const registry = new LocalBackend(to.content, new LocalSink(to.content))
  const tags = [tagged('a'), tagged('b')]
  const run = async () => {
    const events: CopyEvent[] = []
    for await (const event of copy({ source, name, reference: { tag } }, { registry, name, tags }, { signal: never(), chunkBytes: 2 }))
      events.push(event)
    return events.at(-1)
  }
  const digest = digestOf(bytes)
  t.match(await run(), { type: 'done', digest, tags, manifests: 1, blobs: 3, copiedBlobs: 3, copiedBytes: 11 })
  for (const each of tags) t.equal(await to.content.tags.resolve(name, each), digest)
  t.equal(await to.content.tags.resolve(name, tag), undefined)
  t.match(await run(), { type: 'done', copiedBlobs: 0 })
})

test('copy: the blobs that an index lists are copied as such, also for one platform, and the index stays as it is', async t => {
  const [from, to] = [await openFor(t), await openFor(t)]
  const blobs = ['layer', 'cacheconfig', 'named as a manifest']
  for (const each of blobs) await pushBlob(from.content, name, each)
  const manifests = blobs.map((each, at) => describe(each, at === 2 ? { mediaType: mediaTypes.ociManifest } : {}))
  const bytes = indexOf([], { manifests })
  const foreign = describe('elsewhere', { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })
  const layersOnly = indexOf([], { manifests: [...manifests.slice(0, 2), foreign] })
  await storeManifest(from.content, name, bytes, { tags: [tag] })
  await storeManifest(from.content, name, layersOnly, { tags: [tagged('v2')] })
  const source = new LocalBackend(from.content, new LocalSink(from.content))
  const registry = new LocalBackend(to.content, new LocalSink(to.content))
  const run = async (reference: { tag: ReturnType<typeof tagged> }, platforms: string[] = []) => {
    const events = await Array.fromAsync(copy({ source, name, reference }, { registry, name }, { signal: never(), platforms }))
    return events.at(-1)
  }
  t.match(await run({ tag: tagged('v2') }, ['linux/arm64']), { type: 'done', digest: digestOf(layersOnly), blobs: 3, copiedBlobs: 2 })
  t.match(await run({ tag }), { type: 'done', digest: digestOf(bytes), manifests: 1, blobs: 3, copiedBlobs: 1 })
  for (const each of blobs) t.equal(await blobText(to.content, name, digestOf(Buffer.from(each))), each)
})

test('copy: a descriptor of another size than the blob is copied with the bytes of its digest, once', async t => {
  const [from, to] = [await openFor(t), await openFor(t)]
  const layers = [0, 3, 90].map(size => ({ ...describe(`layer for ${size}`), size }))
  for (const each of ['config', ...[0, 3, 90].map(size => `layer for ${size}`)]) await pushBlob(from.content, name, each)
  const bytes = imageOf('config', [], { layers })
  await storeManifest(from.content, name, bytes, { tags: [tag] })
  const source = new LocalBackend(from.content, new LocalSink(from.content))
  const registry = new LocalBackend(to.content, new LocalSink(to.content))
  const run = async () =>
    (await Array.fromAsync(copy({ source, name, reference: { tag } }, { registry, name }, { signal: never(), chunkBytes: 2 }))).at(-1)
  t.match(await run(), { type: 'done', digest: digestOf(bytes), copiedBlobs: 4 })
  t.match(await run(), { type: 'done', copiedBlobs: 0 })
  t.equal(await blobText(to.content, name, layers[1]?.digest ?? digestOf(bytes)), 'layer for 3')
})

test('copy: the rest of a chunk of which a session took less than was sent is sent again', async t => {
  const [from, to] = [await openFor(t), await openFor(t)]
  const bytes = imageOf('config', [])
  await pushBlob(from.content, name, 'config')
  await storeManifest(from.content, name, bytes, { tags: [tag] })
  const source = new LocalBackend(from.content, new LocalSink(from.content))
  const registry = new LocalBackend(to.content, new ShortSink(to.content))
  const events: CopyEvent[] = []
  for await (const event of copy({ source, name, reference: { tag } }, { registry, name }, { signal: never(), chunkBytes: 4 }))
    events.push(event)
  t.match(events.at(-1), { type: 'done', digest: digestOf(bytes), copiedBlobs: 1 })
})

/** Of the first chunk of a session it takes one byte. */
class ShortSink extends LocalSink {
  override async startUpload(...given: Parameters<LocalSink['startUpload']>): Promise<UploadSession> {
    const session = await super.startUpload(...given)
    const append = async ({ body, length: _, ...chunk }: Chunk) =>
      session.append({ ...chunk, body: session.offset === 0 ? firstByte(body) : body })
    return {
      id: session.id,
      get offset() {
        return session.offset
      },
      refresh: () => session.refresh(),
      append,
      finish: (...last) => session.finish(...last),
      cancel: () => session.cancel()
    }
  }
}

async function* firstByte(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let count = 0
  for await (const piece of body) if (count++ === 0) yield piece.subarray(0, 1)
}
