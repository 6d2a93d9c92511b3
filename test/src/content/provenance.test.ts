import { test } from 'tap'
import { Provenance, type TagProvenance } from '../../../src/content/provenance.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { named, tagged } from '../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../support/storage.ts'

const [name, tag] = [named('a/b'), tagged('v1')]
const digest = digestOf(Buffer.from('x'))
const origin: TagProvenance = { upstream: 'host/path', digest, etag: '"x"', checked: 5 }

test('Origins: content is marked with its upstream, and unmarked by a push', async t => {
  const storage = await openStorage(t)
  const origins = new Provenance(storage)
  t.equal(await origins.get(name, digest), undefined)
  await origins.set(name, digest, 'host/path')
  t.equal(await new Provenance(storage).get(name, digest), 'host/path')
  t.equal(await origins.get(named('a'), digest), undefined)
  await origins.remove(name, digest)
  t.equal(await origins.get(name, digest), undefined)
  t.strictSame(await keysBelow(storage, '.registry/origin'), [])
})

test('Origins: a tag remembers where it came from, over a restart as well', async t => {
  const storage = await openStorage(t)
  await new Provenance(storage).setTag(name, tag, origin)
  const again = new Provenance(storage)
  t.strictSame(await again.getTag(name, tag), origin)
  await again.removeTag(name, tag)
  t.equal(await again.getTag(name, tag), undefined)
  t.equal(await new Provenance(storage).getTag(name, tag), undefined)
})

for (const text of ['', '{', 'null', '{}', '{"upstream":1,"digest":"x","checked":1}', '[]', '7']) {
  test(`Origins: a mark that holds ${text || 'nothing'} is none`, async t => {
    const storage = await openStorage(t)
    await new Provenance(storage).setTag(name, tag, origin)
    await storage.put('.registry/origin/a/b/_tags/v1', Buffer.from(text))
    t.equal(await new Provenance(storage).getTag(name, tag), undefined)
  })
}

test('Origins: a tag that is unmarked while it is read is not remembered as cached', async t => {
  const storage = await openStorage(t)
  await new Provenance(storage).setTag(name, tag, origin)
  const read = Promise.withResolvers<void>()
  const origins = new Provenance({
    ...watchStorage(storage, () => {}),
    get: async key => {
      const bytes = await storage.get(key)
      await read.promise
      return bytes
    }
  })
  const reading = origins.getTag(name, tag)
  await new Promise(resolve => setTimeout(resolve, 50))
  await origins.removeTag(name, tag)
  read.resolve()
  await reading
  t.equal(await origins.getTag(name, tag), undefined)
})
