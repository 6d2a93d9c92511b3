import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { describe, imageOf, named, openFor, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { keysBelow, openStorage, watchStorage } from '../../support/storage.ts'
import { until } from '../support.ts'

const name = named('some/name')
const bytes = imageOf('config', ['layer'])
const digest = digestOf(bytes)
const tag = tagged('v1')
const full = (): Error => Object.assign(new Error('full'), { code: 'ENOSPC' })

/** Content whose writes are recorded in order; the one that `fails` picks is refused. */
async function noted(t: Test, fails: (call: string) => boolean = () => false) {
  const below = await openStorage(t)
  const changes: string[] = []
  const watched = watchStorage(below, (call, key) => {
    if (!['put', 'publish', 'remove', 'ensurePrefix'].includes(call)) return
    if (fails(`${call} ${key}`)) throw full()
    changes.push(`${call} ${key}`)
  })
  return { ...(await openFor(t, watched)), below, changes }
}

test('commit: a blob is linked only after its bytes are durable', async t => {
  const { content, changes } = await noted(t)
  const blob = await pushBlob(content, name, 'x')
  t.strictSame(changes.slice(0, 2), [`publish ${keys.blob(blob)}`, `put ${keys.layer(name, blob)}`])
})

test('commit: a manifest is stored, listed as referrer, linked, and tagged, in this order', async t => {
  const { content, changes } = await noted(t)
  const subject = digestOf(Buffer.from('subject'))
  await storeManifest(content, name, bytes, { subject, tags: [tag, tagged('v2')] })
  t.strictSame(changes, [
    `put ${keys.blob(digest)}`,
    `ensurePrefix ${keys.layers(name)}`,
    `put ${keys.referrer(name, subject, digest)}`,
    `put ${keys.revision(name, digest)}`,
    `put ${keys.tag(name, tag)}`,
    `put ${keys.tagIndexEntry(name, tag, digest)}`,
    `put ${keys.tag(name, tagged('v2'))}`,
    `put ${keys.tagIndexEntry(name, tagged('v2'), digest)}`
  ])
})

test('commit: only the link of a tag and its index entry are written side by side', async t => {
  const below = await openStorage(t)
  const writes = new Map<string, PromiseWithResolvers<void>>()
  const watched = watchStorage(below, async (call, key) => {
    if (call !== 'put') return
    writes.set(key, Promise.withResolvers())
    await writes.get(key)?.promise
  })
  const { content } = await openFor(t, watched)
  const subject = digestOf(Buffer.from('subject'))
  const push = storeManifest(content, name, bytes, { subject, tags: [tag] })
  const steps = [
    [keys.blob(digest)],
    [keys.referrer(name, subject, digest)],
    [keys.revision(name, digest)],
    [keys.tag(name, tag), keys.tagIndexEntry(name, tag, digest)]
  ]
  for (const step of steps) {
    await until(() => step.every(key => writes.has(key)))
    t.strictSame([...writes.keys()], step, 'nothing else is being written')
    for (const { resolve } of writes.values()) resolve()
    writes.clear()
  }
  t.equal(await push, digest)
})

test('commit: a tag whose index entry fails fails when its own link has been written, not before', async t => {
  const below = await openStorage(t)
  const link = Promise.withResolvers<void>()
  const watched = watchStorage(below, async (call, key) => {
    if (call === 'put' && key === keys.tagIndexEntry(name, tag, digest)) throw full()
    if (call === 'put' && key === keys.tag(name, tag)) await link.promise
  })
  const { content } = await openFor(t, watched)
  let ended = false
  const push = storeManifest(content, name, bytes, { tags: [tag] }).finally(() => {
    ended = true
  })
  await until(async () => (await below.stat(keys.revision(name, digest))) !== undefined)
  for (let turn = 0; turn < 20; turn++) await setImmediate()
  t.notOk(ended)
  link.resolve()
  await t.rejects(push, { code: 'ENOSPC' })
})

test('commit: a manifest that could not be linked leaves the tag as it was', async t => {
  const other = imageOf('other', [])
  const { content } = await noted(t, call => call === `put ${keys.revision(name, digestOf(other))}`)
  await storeManifest(content, name, bytes, { tags: [tag] })
  await t.rejects(storeManifest(content, name, other, { tags: [tag] }), { code: 'ENOSPC' })
  t.equal(await content.tags.resolve(name, tag), digest)
})

test('commit: each tag that is set is returned with what it named before', async t => {
  const { content } = await openFor(t)
  t.strictSame(await content.commit.putManifest(name, digest, bytes, { tags: [tag] }), [{ tag }])
  const other = imageOf('other', [])
  t.strictSame(await content.commit.putManifest(name, digestOf(other), other, { tags: [tag, tagged('v2')] }), [
    { tag, old: digest },
    { tag: 'v2' }
  ])
})

test('commit: moves of one tag at once end in one of the digests, whose manifest is there', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const all = Array.from({ length: 12 }, (_, at) => imageOf(`${at}`, []))
  const moves = await Promise.all(all.map(each => content.commit.putManifest(name, digestOf(each), each, { tags: [tag] })))
  const olds = moves.map(([move]) => move?.old)
  t.equal(new Set(olds).size, all.length, 'each has seen another predecessor')
  for (const { tags, manifests } of [content, (await openFor(t, storage)).content]) {
    const named = await tags.resolve(name, tag)
    t.ok(named && all.some(each => digestOf(each) === named))
    t.notOk(olds.includes(named), 'the last one')
    t.ok(named && (await manifests.get(name, named)))
  }
})

test('commit: a manifest that is pushed and deleted at once is tagged and there, or neither', async t => {
  const { content } = await openFor(t)
  for (let round = 0; round < 20; round++) {
    await Promise.all([storeManifest(content, name, bytes, { tags: [tag] }), content.commit.removeManifest(name, digest, undefined)])
    const named = await content.tags.resolve(name, tag)
    const there = (await content.manifests.get(name, digest)) !== undefined
    if ((named !== undefined) !== there) t.fail(`round ${round}: tag ${named}, manifest ${there}`)
  }
  t.pass()
})

test('commit: deleting a manifest takes its tags first, and leaves those of others', async t => {
  const { content, changes } = await noted(t)
  const other = imageOf('other', [])
  await storeManifest(content, name, bytes, { tags: ['a', 'b'].map(tagged) })
  await storeManifest(content, name, other, { tags: [tagged('b')] })
  changes.length = 0
  t.strictSame(await content.commit.removeManifest(name, digest, undefined), ['a'])
  t.strictSame(changes, [
    `remove ${keys.tag(name, tagged('a'))}`,
    `remove ${keys.tagIndexEntry(name, tagged('a'), digest)}`,
    `remove ${keys.revision(name, digest)}`
  ])
  t.strictSame((await content.tags.list(name, {})).items, ['b'])
  t.equal(await content.manifests.get(name, digest), undefined)
  t.ok(await content.manifests.get(name, digestOf(other)))
})

test('commit: deleting a tag leaves the manifest and the other tags', async t => {
  const { content } = await openFor(t)
  await storeManifest(content, name, bytes, { tags: ['a', 'b'].map(tagged) })
  t.equal(await content.commit.removeTag(name, tagged('a')), digest)
  t.equal(await content.commit.removeTag(name, tagged('a')), undefined)
  t.strictSame((await content.tags.list(name, {})).items, ['b'])
  t.ok(await content.manifests.get(name, digest))
})

test('commit: a tag whose removal broke off can be removed again, and leaves nothing', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  await storeManifest(content, name, bytes, { tags: [tag] })
  await storage.remove([keys.tag(name, tag)])
  const restarted = await openFor(t, storage)
  t.equal(await restarted.content.commit.removeTag(name, tag), undefined)
  t.strictSame(await keysBelow(storage, keys.tags(name)), [])
  t.strictSame((await restarted.content.tags.list(name, {})).items, [])
})

test('commit: a blob that is removed from one repository stays for the others', async t => {
  const { content, storage } = await openFor(t)
  const other = named('other')
  const blob = await pushBlob(content, name, 'x')
  await content.commit.linkBlob(other, blob)
  await content.commit.unlinkBlob(name, blob)
  t.equal(await content.blobs.stat(name, blob), undefined)
  t.equal(await content.blobs.stat(other, blob), 1)
  t.ok(await content.blobs.stored(blob))
  t.equal(await storage.stat(keys.layer(name, blob)), undefined)
})

test('commit: a removed link is gone after a restart, and a read at the same time does not cache it again', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  for (let round = 0; round < 30; round++) {
    const blob = await pushBlob(content, name, 'x')
    const restarted = (await openFor(t, storage)).content
    const reads = [restarted.blobs.stat(name, blob), restarted.blobs.stat(name, blob)]
    await Promise.all([...reads, restarted.commit.unlinkBlob(name, blob)])
    if ((await restarted.blobs.stat(name, blob)) !== undefined) t.fail(`round ${round}`)
  }
  t.pass()
})

// The drawing at the top of keys.ts, byte by byte: other registries read this tree.
test('commit: the tree on disk is the one in the drawing', async t => {
  const storage = await openStorage(t)
  const { content } = await openFor(t, storage)
  const subject = digestOf(Buffer.from('subject'))
  const image = imageOf('c', ['l'], { subject: describe('subject', { mediaType: 'application/vnd.oci.image.manifest.v1+json' }) })
  const layer = await pushBlob(content, name, 'l')
  const manifest = await storeManifest(content, name, image, { subject, tags: [tag] })
  const session = await content.uploads.start(name)
  const hex = (text: string): string => text.slice('sha256:'.length)
  const blob = (text: string): string => `docker/registry/v2/blobs/sha256/${hex(text).slice(0, 2)}/${hex(text)}/data`
  const repository = 'docker/registry/v2/repositories/some/name'
  const expected: Record<string, string | RegExp> = {
    [blob(layer)]: 'l',
    [blob(manifest)]: image.toString(),
    [`${repository}/_layers/sha256/${hex(layer)}/link`]: layer,
    [`${repository}/_manifests/revisions/sha256/${hex(manifest)}/link`]: manifest,
    [`${repository}/_manifests/tags/v1/current/link`]: manifest,
    [`${repository}/_manifests/tags/v1/index/sha256/${hex(manifest)}/link`]: manifest,
    [`${repository}/_referrers/sha256/${hex(subject)}/sha256/${hex(manifest)}/link`]: manifest,
    [`${repository}/_uploads/${session.id}/startedat`]: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
  }
  t.strictSame(await keysBelow(storage, 'docker'), Object.keys(expected).sort())
  for (const [key, text] of Object.entries(expected)) t.match((await storage.get(key))?.toString(), text, key)
  t.equal((await storage.get(`${repository}/_layers/sha256/${hex(layer)}/link`))?.length, 71, 'no line break')
})
