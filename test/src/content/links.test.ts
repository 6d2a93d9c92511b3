import { type Test, test } from 'tap'
import { Links } from '../../../src/content/links.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Storage } from '../../../storage/storage.ts'
import { openStorage, textOf, watchStorage } from '../../support/storage.ts'

const [one, two] = [digestOf(Buffer.from('one')), digestOf(Buffer.from('two'))]
const long = digestOf(Buffer.from('one'), 'sha512')
const key = 'top/some/link'

async function openLinks(t: Test, watch: (call: string, key: string) => void | Promise<void> = () => {}) {
  const below = await openStorage(t)
  const storage: Storage = watchStorage(below, watch)
  const damages: string[] = []
  return { storage: below, damages, links: new Links(storage, (key, reason) => damages.push(`${key}: ${reason}`)) }
}

test('links: what was written is read, and lies on disk as the bare digest', async t => {
  const { links, storage, damages } = await openLinks(t)
  await links.write(key, one)
  t.equal(await links.read(key, one), one)
  t.equal(await textOf(storage, key), one)
  t.strictSame(damages, [])
})

test('links: an absent link is no damage', async t => {
  const { links, damages } = await openLinks(t)
  t.equal(await links.read(key, one), undefined)
  t.strictSame(damages, [])
})

for (const [title, bytes] of Object.entries({
  empty: '',
  'of garbage': '\0\0\0\0',
  'of a cut digest': one.slice(0, 40),
  'of two digests': `${one}\n${two}`,
  'of an unknown algorithm': `md5:${'a'.repeat(32)}`,
  'of a path': '../../../../etc/passwd',
  huge: one.repeat(2000)
})) {
  test(`links: one ${title} is as good as none, and reported with its key each time`, async t => {
    const { links, storage, damages } = await openLinks(t)
    await storage.put(key, Buffer.from(bytes))
    t.equal(await links.read(key, one), undefined)
    t.equal(await links.read(key, one), undefined)
    t.match(damages, [/^top\/some\/link: /, /^top\/some\/link: /])
    await links.write(key, one)
    t.equal(await links.read(key, one), one, 'writing it mends it')
  })
}

test('links: a link that holds another digest than its key counts as none', async t => {
  const { links, storage, damages } = await openLinks(t)
  await storage.put(key, Buffer.from(two))
  t.equal(await links.read(key, one), undefined)
  t.equal(damages.length, 1)
})

test('links: a sha512 may lead to a sha256, as Distribution writes it', async t => {
  const { links, storage } = await openLinks(t)
  await storage.put(key, Buffer.from(one))
  t.equal(await links.read(key, long), one)
})

test('links: a line break at the end does no harm', async t => {
  const { links, storage } = await openLinks(t)
  await storage.put(key, Buffer.from(`${one}\n`))
  t.equal(await links.read(key, one), one)
})

test('links: a link that is read often is read from disk once', async t => {
  let gets = 0
  const { links, storage } = await openLinks(t, call => void (call === 'get' && gets++))
  await storage.put(key, Buffer.from(one))
  for (let at = 0; at < 5; at++) t.equal(await links.read(key, one), one)
  t.equal(gets, 1)
})

test('links: links that are written side by side are all cached', async t => {
  const reads: string[] = []
  const { links } = await openLinks(t, (call, each) => void (call === 'get' && reads.push(each)))
  const all = Array.from({ length: 20 }, (_, at) => `top/link-${at}`)
  await Promise.all(all.map(each => links.write(each, one)))
  for (const each of all) t.equal(await links.read(each, one), one)
  t.strictSame(reads, [])
})

test('links: a read that began before a removal is not cached after it', async t => {
  const { links, storage } = await openLinks(t)
  for (let round = 0; round < 100; round++) {
    await storage.put(key, Buffer.from(one))
    await Promise.all([links.read(key), links.read(key), links.remove([key], 'top'), links.read(key)])
    if ((await links.read(key)) !== undefined) t.fail(`round ${round}: it is gone, and was read`)
  }
  t.pass()
})

test('links: a link whose removal overtook the end of its write is not cached', async t => {
  const gate = Promise.withResolvers<void>()
  const below = await openStorage(t)
  const slow: Storage = { ...watchStorage(below, () => {}), put: (key, bytes) => below.put(key, bytes).then(() => gate.promise) }
  const links = new Links(slow, () => {})
  const writing = links.write(key, one)
  while (!(await below.stat(key))) await new Promise(resolve => setImmediate(resolve))
  await links.remove([key], 'top')
  gate.resolve()
  await writing
  t.equal(await links.read(key, one), undefined)
})

test('links: a link whose write failed after it took effect is read from the storage', async t => {
  const below = await openStorage(t)
  let failing = false
  const storage: Storage = {
    ...watchStorage(below, () => {}),
    async put(key, bytes) {
      await below.put(key, bytes)
      if (failing) throw Object.assign(new Error('fsync'), { code: 'EIO' })
    }
  }
  const links = new Links(storage, () => {})
  await links.write(key, one)
  failing = true
  await t.rejects(links.write(key, two), { code: 'EIO' })
  t.equal(await links.read(key), two, 'what is on disk')
})

test('links: a link whose removal failed does not count as removed', async t => {
  let failing = true
  const { links } = await openLinks(t, call => {
    if (call === 'remove' && failing) throw Object.assign(new Error('remove'), { code: 'EIO' })
  })
  await links.write(key, one)
  await t.rejects(links.remove([key], 'top'), { code: 'EIO' })
  t.equal(await links.read(key), one)
  failing = false
  await links.remove([key], 'top')
  t.equal(await links.read(key), undefined)
})
