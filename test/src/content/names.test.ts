import { test } from 'tap'
import type { Names } from '../../../src/content/names.ts'
import { imageOf, named, openFor, pushBlob, storeManifest } from '../../support/content.ts'
import { fc } from '../../support/seeded.ts'
import { openStorage } from '../../support/storage.ts'

const inByteOrder = (names: Iterable<string>): string[] => [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))

async function paged(names: Names, n: number): Promise<string[]> {
  const seen: string[] = []
  let last: string | undefined
  do {
    const page = await names.list({ n, ...(last === undefined ? {} : { last }) })
    if (page.items.length > n) throw new Error(`${page.items.length} of ${n}`)
    seen.push(...page.items)
    last = page.next
  } while (last !== undefined)
  return seen
}

test('names: the list is in byte order of the whole names, not of their components', async t => {
  const { content } = await openFor(t)
  const all = ['a', 'a-b', 'a-b/c', 'a.b/c', 'a/b', 'a/b-c', 'a/b/c', 'a0', 'aa', 'b/c/d']
  for (const name of [...all].reverse()) await content.commit.linkBlob(named(name), await pushBlob(content, named('b/c/d'), 'x'))
  t.strictSame(await content.names.list({}), { items: all })
  for (let n = 1; n <= all.length + 1; n++) t.strictSame(await paged(content.names, n), all, `pages of ${n}`)
})

test('names: whatever repositories there are, pages of every size give the same ordered list', async t => {
  const component = fc.constantFrom('a', 'a-a', 'a.a', 'a_a', 'a--a', 'a0', 'b', '0')
  const name = fc.array(component, { minLength: 1, maxLength: 3 }).map(parts => parts.join('/'))
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(name, { maxLength: 12 }), fc.option(name, { nil: '' }), async (all, last) => {
      const storage = await openStorage(t)
      const { content } = await openFor(t, storage)
      for (const each of all) await storage.ensurePrefix(`docker/registry/v2/repositories/${each}/_layers`)
      const expected = inByteOrder(all)
      for (let n = 1; n <= all.length; n++) t.strictSame(await paged(content.names, n), expected)
      t.strictSame(
        (await content.names.list({ last })).items,
        expected.filter(each => each > last)
      )
    }),
    { numRuns: 40 }
  )
})

test('names: n=0 is an empty page without a next', async t => {
  const { content } = await openFor(t)
  await pushBlob(content, named('a'), 'x')
  t.strictSame(await content.names.list({ n: 0 }), { items: [] })
})

test('names: empty storage has none', async t => {
  const { content } = await openFor(t)
  t.strictSame(await content.names.list({}), { items: [] })
  t.notOk(await content.names.has(named('a')))
})

test('names: a repository exists from its first blob or manifest on, not from its first upload', async t => {
  const { content } = await openFor(t)
  await content.uploads.start(named('begun'))
  await pushBlob(content, named('deep/blob'), 'x')
  await storeManifest(content, named('manifest'), imageOf('x', []))
  t.strictSame((await content.names.list({})).items, ['deep/blob', 'manifest'])
  t.notOk(await content.names.has(named('begun')))
  t.notOk(await content.names.has(named('deep')), 'one that only stands above others is none')
  t.ok(await content.names.has(named('deep/blob')))
  t.ok(await content.names.has(named('manifest')))
})

test('names: all of them include repositories that have upload sessions only, once each', async t => {
  const { content } = await openFor(t)
  await content.uploads.start(named('a'))
  await content.uploads.start(named('b/c'))
  await pushBlob(content, named('b/c'), 'x')
  t.strictSame(await Array.fromAsync(content.names.all()), ['a', 'b/c'])
})

test('names: a prefix that cannot be a name is not listed, nor is a file', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await pushBlob(content, named('a'), 'x')
  for (const odd of ['A', 'a..b', '.hidden', '_odd', 'x'.repeat(255)])
    await storage.ensurePrefix(`docker/registry/v2/repositories/a/${odd}/_layers`)
  await storage.put('docker/registry/v2/repositories/file', Buffer.from('x'))
  await storage.put('docker/registry/v2/repositories/b/_layers', Buffer.from('a file'))
  t.strictSame((await content.names.list({})).items, ['a'])
})

test('names: a repository that lost everything by deletes still exists', async t => {
  const { content } = await openFor(t)
  const digest = await pushBlob(content, named('a'), 'x')
  await content.commit.unlinkBlob(named('a'), digest)
  t.ok(await content.names.has(named('a')))
})
