import { type Test, test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { imageOf, named, openFor, storeManifest, tagged } from '../../support/content.ts'
import { openStorage } from '../../support/storage.ts'

const name = named('some/name')
const bytes = imageOf('config', [])
const digest = digestOf(bytes)

async function withTags(t: Test, ...tags: string[]) {
  const { content } = await openFor(t)
  await storeManifest(content, name, bytes, { tags: tags.map(tagged) })
  return content.tags
}

test('tags: the list is in byte order, upper case first', async t => {
  const tags = await withTags(t, 'b', 'a', 'B', 'v1.10', 'v1.9', 'v1-9', '_x', '0', 'v1')
  t.strictSame(await tags.list(name, {}), { items: ['0', 'B', '_x', 'a', 'b', 'v1', 'v1-9', 'v1.10', 'v1.9'] })
})

test('tags: pages of every size give the same list, each tag once', async t => {
  const all = ['A', 'a', 'b', 'c', 'd', 'e', 'f']
  const tags = await withTags(t, ...all)
  for (let n = 1; n <= all.length + 1; n++) {
    const seen: string[] = []
    let last: string | undefined
    do {
      const { items, next } = await tags.list(name, { n, ...(last === undefined ? {} : { last }) })
      t.ok(items.length <= n && items.length > 0, `${items.length} of ${n}`)
      if (next !== undefined) t.equal(next, items.at(-1))
      seen.push(...items)
      last = next
    } while (last !== undefined)
    t.strictSame(seen, all, `n=${n}`)
  }
})

test('tags: n=0 is an empty page without a next', async t => {
  t.strictSame(await (await withTags(t, 'a', 'b')).list(name, { n: 0 }), { items: [] })
})

test('tags: the last page has no next', async t => {
  const tags = await withTags(t, 'a', 'b')
  t.strictSame(await tags.list(name, { n: 2 }), { items: ['a', 'b'] })
  t.strictSame(await tags.list(name, { n: 1 }), { items: ['a'], next: 'a' })
})

test('tags: a last that does not exist is a position in the order too', async t => {
  const tags = await withTags(t, 'a', 'c')
  t.strictSame((await tags.list(name, { last: 'b' })).items, ['c'])
  t.strictSame((await tags.list(name, { last: 'A' })).items, ['a', 'c'])
  t.strictSame((await tags.list(name, { last: 'z' })).items, [])
  t.strictSame((await tags.list(name, { last: '../../x\0' })).items, ['a', 'c'])
})

test('tags: a repository without tags has an empty list', async t => {
  t.strictSame(await (await withTags(t)).list(name, {}), { items: [] })
  t.strictSame(await (await withTags(t)).list(named('unknown'), { n: 1 }), { items: [] })
})

test('tags: a prefix that cannot be a tag is not listed', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await storeManifest(content, name, bytes, { tags: [tagged('a')] })
  await storage.put(`${keys.tags(name)}/.hidden/current/link`, Buffer.from(digest))
  await storage.put(`${keys.tags(name)}/${'x'.repeat(200)}/current/link`, Buffer.from(digest))
  await storage.put(`${keys.tags(name)}/file`, Buffer.from(digest))
  t.strictSame((await content.tags.list(name, {})).items, ['a'])
})

test('tags: a tag names the digest that it was set to last, also after a restart', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const [first, second] = [imageOf('one', []), imageOf('two', [])]
  await storeManifest(content, name, first, { tags: [tagged('a')] })
  await storeManifest(content, name, second, { tags: [tagged('a')] })
  for (const { tags } of [content, (await openFor(t, storage)).content]) {
    t.equal(await tags.resolve(name, tagged('a')), digestOf(second))
    t.equal(await tags.resolve(name, tagged('b')), undefined)
    t.equal(await tags.resolve(named('other'), tagged('a')), undefined)
  }
})

test('tags: a damaged link names nothing, and is reported with its key', async t => {
  const storage = await openStorage(t)
  await storeManifest((await openFor(t, storage)).content, name, bytes, { tags: [tagged('a')] })
  await storage.put(keys.tag(name, tagged('a')), Buffer.from('garbage'))
  const { content, damages } = await openFor(t, storage)
  t.equal(await content.tags.resolve(name, tagged('a')), undefined)
  t.match(damages, [{ key: keys.tag(name, tagged('a')) }])
})

test('tags: the tags that name a digest are found, and no others', async t => {
  const { content } = await openFor(t)
  await storeManifest(content, name, bytes, { tags: ['a', 'b', 'c'].map(tagged) })
  await storeManifest(content, name, imageOf('other', []), { tags: [tagged('b')] })
  t.strictSame(await content.tags.pointingAt(name, digest), ['a', 'c'])
})
