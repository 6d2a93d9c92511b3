import { test } from 'tap'
import { Room } from '../../src/content/room.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { Random } from '../long/random.ts'
import { repeat, scale, seed } from '../long/scale.ts'
import { noPace } from '../support/collect.ts'
import { describe, imageOf, named, openFor } from '../support/content.ts'
import { openStorage } from '../support/storage.ts'

const { budget, bytes: total, blob } = scale.churn
const name = named('app')
const images = 200
const concurrent = 4
const upstream = 'upstream.example'

test(`cache: ${total} bytes go through a budget of ${budget}, which is never exceeded, and no image loses a layer (${repeat})`, {
  timeout: 0
}, async t => {
  const storage = await openStorage(t)
  const { content, damages } = await openFor(t, storage)
  const random = new Random(seed)
  let [used, running, most, fetched, hits, asked, full] = [0, 0, 0, 0, 0, 0, 0]
  const room = new Room({
    storage,
    content,
    space: { lacking: more => used + running + more - budget, margin: budget / 20 },
    policy: async () => ({ pinned: () => false, grace: 0 }),
    pace: noPace,
    onRemove: ({ kind, bytes = 0 }) => {
      if (kind === 'blob') used -= bytes
    }
  })
  const payload = (what: string) => Buffer.alloc(blob, `${what} `)
  // One layer for all, one for each ten, one of its own.
  const layersOf = (image: number) => ['shared', `family ${Math.floor(image / 10)}`, `own ${image}`]
  const fetch = async (what: string): Promise<void> => {
    const bytes = payload(what)
    const digest = digestOf(bytes)
    asked++
    const stored = await content.blobs.open(name, digest)
    if (stored) {
      content.access.seen(name, digest)
      await stored.body.close()
      hits++
      return
    }
    fetched += blob
    if (!(await room.makeRoom(blob))) {
      full++
      return
    }
    running += blob
    try {
      const writer = await storage.create(`.registry/tmp/${random.next()}`)
      await writer.write([bytes])
      const there = await content.blobs.stored(digest)
      await content.commit.blob(name, digest, writer, upstream)
      if (!there) used += blob
    } finally {
      running -= blob
    }
    most = Math.max(most, used)
  }
  const pull = async (): Promise<void> => {
    // Few images are asked for often, many hardly ever.
    const image = Math.floor(random.next() ** 3 * images)
    const [first = '', ...rest] = layersOf(image).map(payload)
    const bytes = imageOf('', [], { config: describe(first), layers: rest.map(each => describe(each)) })
    const digest = digestOf(bytes)
    if (!(await content.manifests.get(name, digest))) {
      await content.commit.manifest(name, digest, bytes, { tags: [], origin: { upstream, digest, checked: 0 } })
    }
    content.access.seen(name, digest)
    for (const layer of layersOf(image)) await fetch(layer)
  }
  const clients = Array.from({ length: concurrent }, async () => {
    while (fetched < total) await pull()
  })
  await Promise.all(clients)
  t.comment(`${asked} blobs asked for, ${Math.round((hits / asked) * 100)} % from the cache, ${full} found no room, ${most} bytes at most`)
  t.ok(most <= budget + concurrent * blob, `${most} bytes`)
  t.ok(hits > 0)
  t.strictSame(damages, [], 'no link leads to what is gone')
  const shared = digestOf(payload('shared')) as Digest
  t.ok(await content.blobs.stat(name, shared), 'what every image needs was never worth removing')
})
