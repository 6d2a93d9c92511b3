import { test } from 'tap'
import { LocalBackend } from '../../../src/backend/local.ts'
import { LocalSink } from '../../../src/backend/local-sink.ts'
import { copy } from '../../../src/copy/copy.ts'
import type { CopyEvent } from '../../../src/copy/events.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Chunk, UploadSession } from '../../../src/oci/sink.ts'
import { imageOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
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
