import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { referrersTag } from '../../../src/content/referrers.ts'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { describe, imageOf, indexOf, named, openFor, storeManifest } from '../../support/content.ts'
import { openStorage } from '../../support/storage.ts'

const name = named('some/name')
const subjectBytes = imageOf('subject', [])
const subject = digestOf(subjectBytes)
const pointing = (more: Record<string, unknown> = {}): Buffer =>
  imageOf('referrer', [], { subject: describe(subjectBytes, { mediaType: mediaTypes.ociManifest }), ...more })
const digests = (items: readonly { digest: Digest }[]): Digest[] => items.map(each => each.digest)

const [first, second, third] = ['a', 'b', 'c'].map(each => pointing({ artifactType: `application/${each}`, annotations: { each } })) as [
  Buffer,
  Buffer,
  Buffer
]
const ordered = [first, second, third].map(each => digestOf(each)).sort()

async function withThree(t: Parameters<typeof openFor>[0]) {
  const opened = await openFor(t)
  for (const each of [first, second, third]) await storeManifest(opened.content, name, each, { subject })
  return opened
}

test('referrers: each is described as in an index, with its artifactType and its annotations', async t => {
  const { content } = await openFor(t)
  const digest = await storeManifest(content, name, first, { subject })
  t.strictSame(await content.referrers.list(name, subject, {}), {
    items: [
      {
        mediaType: mediaTypes.ociManifest,
        digest,
        size: first.length,
        artifactType: 'application/a',
        annotations: { each: 'a' }
      }
    ]
  })
})

test('referrers: an image without an artifactType is of the type of its config', async t => {
  const { content } = await openFor(t)
  await storeManifest(content, name, pointing({ config: describe('c', { mediaType: 'application/x.config' }) }), { subject })
  t.match((await content.referrers.list(name, subject, {})).items, [{ artifactType: 'application/x.config' }])
})

test('referrers: an unknown digest has none, nor has one in an unknown or another repository', async t => {
  const { content } = await withThree(t)
  t.strictSame(await content.referrers.list(name, digestOf(Buffer.from('unknown')), {}), { items: [] })
  t.strictSame(await content.referrers.list(named('unknown'), subject, {}), { items: [] })
})

test('referrers: the filter gives those of one artifactType', async t => {
  const { content } = await withThree(t)
  t.strictSame(digests((await content.referrers.list(name, subject, { artifactType: 'application/b' })).items), [digestOf(second)])
  t.strictSame((await content.referrers.list(name, subject, { artifactType: 'application/z' })).items, [])
})

test('referrers: pages of every size give the same list, ordered by digest', async t => {
  const { content } = await withThree(t)
  for (let n = 1; n <= 4; n++) {
    const seen: Digest[] = []
    let last: string | undefined
    do {
      const page = await content.referrers.list(name, subject, { n, ...(last === undefined ? {} : { last }) })
      seen.push(...digests(page.items))
      last = page.next
    } while (last !== undefined)
    t.strictSame(seen, ordered, `pages of ${n}`)
  }
  t.strictSame(await content.referrers.list(name, subject, { n: 0 }), { items: [] })
})

test('referrers: a filtered page goes on where it ended', async t => {
  const { content } = await openFor(t)
  const same = ['x', 'y'].map(each => pointing({ artifactType: 'application/same', annotations: { each } }))
  for (const each of [...same, first, second]) await storeManifest(content, name, each, { subject })
  const want = { artifactType: 'application/same', n: 1 }
  const page = await content.referrers.list(name, subject, want)
  const rest = await content.referrers.list(name, subject, { ...want, ...(page.next ? { last: page.next } : {}) })
  t.strictSame(digests([...page.items, ...rest.items]), same.map(each => digestOf(each)).sort())
  t.equal(rest.next, undefined)
})

test('referrers: a page stays below 4 MiB, however large the annotations are', async t => {
  const { content } = await openFor(t)
  const all = ['a', 'b', 'c'].map(each => pointing({ annotations: { each, text: '字'.repeat(600_000) } }))
  for (const each of all) await storeManifest(content, name, each, { subject })
  const seen: Digest[] = []
  let last: string | undefined
  do {
    const page = await content.referrers.list(name, subject, last === undefined ? {} : { last })
    t.ok(Buffer.byteLength(JSON.stringify(page.items)) < 4 * 1024 * 1024, `${page.items.length} in a page`)
    seen.push(...digests(page.items))
    last = page.next
  } while (last !== undefined)
  t.equal(seen.length, 3)
})

test('referrers: those that clients listed under the fallback tag are imported', async t => {
  const { content } = await openFor(t)
  for (const each of [first, second]) await storeManifest(content, name, each)
  await storeManifest(content, name, indexOf([first, second]), { tags: [referrersTag(subject)] })
  await storeManifest(content, name, third, { subject })
  await storeManifest(content, name, first, { subject })
  t.strictSame(digests((await content.referrers.list(name, subject, {})).items), ordered, 'each once')
})

test('referrers: a fallback tag lists nothing that has another subject, is not there, or is not an index', async t => {
  const { content } = await openFor(t)
  const elsewhere = imageOf('x', [], { subject: describe('other', { mediaType: mediaTypes.ociManifest }) })
  const without = imageOf('x', [])
  for (const each of [elsewhere, without]) await storeManifest(content, name, each)
  await storeManifest(content, name, indexOf([elsewhere, without, first]), { tags: [referrersTag(subject)] })
  t.strictSame(await content.referrers.list(name, subject, {}), { items: [] })
  await storeManifest(content, name, imageOf('not an index', []), { tags: [referrersTag(subject)] })
  t.strictSame(await content.referrers.list(name, subject, {}), { items: [] })
})

test('referrers: the list has no manifest with another subject', async t => {
  const { content } = await openFor(t)
  await storeManifest(content, name, imageOf('x', []), { subject })
  t.strictSame(await content.referrers.list(name, subject, {}), { items: [] })
})

test('referrers: one that was deleted vanishes, also if only its revision went', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  for (const each of [first, second, third]) await storeManifest(content, name, each, { subject })
  await content.commit.removeManifest(name, digestOf(first), subject)
  t.equal(await storage.stat(keys.referrer(name, subject, digestOf(first))), undefined)
  await content.commit.removeManifest(name, digestOf(second), undefined)
  t.strictSame(digests((await content.referrers.list(name, subject, {})).items), [digestOf(third)])
})

test('referrers: they stay when their subject is removed', async t => {
  const { content } = await withThree(t)
  await storeManifest(content, name, subjectBytes)
  await content.commit.removeManifest(name, subject, undefined)
  t.equal((await content.referrers.list(name, subject, {})).items.length, 3)
})

test('referrers: they are there after a restart, and a damaged one is left out', async t => {
  const { content, storage } = await withThree(t)
  t.equal((await content.referrers.list(name, subject, {})).items.length, 3)
  await storage.put(keys.blob(digestOf(first)), Buffer.from('{'))
  const restarted = await openFor(t, storage)
  t.equal((await restarted.content.referrers.list(name, subject, {})).items.length, 2)
  t.match(restarted.damages, [{ key: keys.blob(digestOf(first)) }])
})

test('referrers: the fallback tag of a sha512 is cut to a tag', async t => {
  const long = digestOf(Buffer.from('x'), 'sha512')
  t.equal(referrersTag(long), `sha512-${long.slice(7, 71)}`)
  t.equal(referrersTag(subject), subject.replace(':', '-'))
})
