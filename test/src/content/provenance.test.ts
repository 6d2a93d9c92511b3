import { test } from 'tap'
import { Provenance, type TagProvenance } from '../../../src/content/provenance.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { named, tagged } from '../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../support/storage.ts'

const [name, tag] = [named('a/b'), tagged('v1')]
const digest = digestOf(Buffer.from('x'))
const record: TagProvenance = { upstream: 'host/path', digest, etag: '"x"', checked: 5 }

test('provenance: content that was cached has a record of its upstream until it is pushed', async t => {
  const storage = await openStorage(t)
  const provenance = new Provenance(storage)
  t.equal(await provenance.get(name, digest), undefined)
  await provenance.set(name, digest, 'host/path')
  t.equal(await new Provenance(storage).get(name, digest), 'host/path')
  t.equal(await provenance.get(named('a'), digest), undefined)
  await provenance.remove(name, digest)
  t.equal(await provenance.get(name, digest), undefined)
  t.strictSame(await keysBelow(storage, '.registry/record'), [])
})

test('provenance: the record of a tag survives a restart', async t => {
  const storage = await openStorage(t)
  await new Provenance(storage).setTag(name, tag, record)
  const again = new Provenance(storage)
  t.strictSame(await again.getTag(name, tag), record)
  await again.removeTag(name, tag)
  t.equal(await again.getTag(name, tag), undefined)
  t.equal(await new Provenance(storage).getTag(name, tag), undefined)
})

for (const text of ['', '{', 'null', '{}', '{"upstream":1,"digest":"x","checked":1}', '[]', '7']) {
  test(`provenance: a record that holds ${text || 'nothing'} is none`, async t => {
    const storage = await openStorage(t)
    await new Provenance(storage).setTag(name, tag, record)
    await storage.put('.registry/origin/a/b/_tags/v1', Buffer.from(text))
    t.equal(await new Provenance(storage).getTag(name, tag), undefined)
  })
}

test('provenance: a record of a tag that is removed while it is read is not cached', async t => {
  const storage = await openStorage(t)
  await new Provenance(storage).setTag(name, tag, record)
  const [read, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const provenance = new Provenance({
    ...watchStorage(storage, () => {}),
    get: async key => {
      const bytes = await storage.get(key)
      read.resolve()
      await go.promise
      return bytes
    }
  })
  const reading = provenance.getTag(name, tag)
  await read.promise
  await provenance.removeTag(name, tag)
  go.resolve()
  await reading
  t.equal(await provenance.getTag(name, tag), undefined)
})
