import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { blobText, named, pushBlob } from '../../support/content.ts'
import { openStorage } from '../../support/storage.ts'
import { eventsOf, flip, found, name, pushImage, readingStorage, treeFor, truncate } from './scene.ts'

test('scrub: where nothing is damaged, all is read and nothing is reported', async t => {
  const tree = await treeFor(t)
  const { bytes } = await pushImage(tree.content)
  const { damaged, warnings, done } = await found(tree)
  t.strictSame([damaged, warnings], [[], []])
  t.match(done, { blobs: 3, bytes: 12 + 11_000 + bytes.length, repositories: 1, damaged: 0, mended: 0 })
})

test('scrub: a flipped byte and a truncated blob are quarantined, and missing until they are pushed again', async t => {
  const tree = await treeFor(t)
  const [one, two] = [await pushImage(tree.content, 'v1'), await pushImage(tree.content, 'v2')]
  await flip(tree.storage, one.layer)
  await truncate(tree.storage, two.layer)
  const { damaged } = await found(tree)
  t.match(
    damaged.find(each => each.digest === one.layer),
    { kind: 'blob', names: [name], action: 'quarantined', reason: /^11000 bytes of sha256:/ }
  )
  t.match(
    damaged.find(each => each.digest === two.layer),
    { kind: 'blob', names: [name], action: 'quarantined', reason: /^10999 bytes of sha256:/ }
  )
  t.equal(damaged.length, 2)
  for (const digest of [one.layer, two.layer]) t.equal(await blobText(tree.content, name, digest), undefined)
  await pushImage(tree.content, 'v1')
  await pushImage(tree.content, 'v2')
  t.equal((await blobText(tree.content, name, one.layer))?.length, 11_000)
  t.match(await found(tree), { damaged: [], done: { damaged: 0 } })
})

test('scrub: known-bad content is reported again by the next one, once', async t => {
  const tree = await treeFor(t)
  const { layer } = await pushImage(tree.content)
  await flip(tree.storage, layer)
  await found(tree)
  const { damaged, done } = await found(tree)
  t.match(damaged, [{ kind: 'link', digest: layer, names: [name], action: 'reported' }])
  t.equal(damaged.length, 1)
  t.match(done, { damaged: 1, mended: 0 })
})

test('scrub: a damaged manifest is called one, with all repositories that have it', async t => {
  const tree = await treeFor(t)
  const other = named('app/two')
  const { manifest } = await pushImage(tree.content)
  await pushImage(tree.content, 'v1', { at: other })
  await flip(tree.storage, manifest)
  const { damaged } = await found(tree)
  t.match(damaged, [{ kind: 'manifest', digest: manifest, names: [name, other], action: 'quarantined' }])
  t.equal(damaged.length, 1)
  t.equal(await tree.content.manifests.get(name, manifest), undefined)
})

test('scrub: a damaged blob without a link is quarantined and forgotten', async t => {
  const tree = await treeFor(t)
  const digest = await pushBlob(tree.content, name, 'abandoned')
  await tree.content.commit.unlinkBlob(name, digest)
  await flip(tree.storage, digest)
  t.match((await found(tree)).damaged, [{ digest, names: [] }])
  t.strictSame(tree.content.quarantine.list(), [])
})

test('scrub: a blob that is healed while it is read is left alone', async t => {
  const below = await openStorage(t)
  let heal: (() => Promise<unknown>) | undefined
  const tree = await treeFor(
    t,
    readingStorage(below, async key => {
      const now = heal
      if (!now || !key.endsWith('/data')) return
      heal = undefined
      await now()
    })
  )
  const { layer } = await pushImage(tree.content)
  await flip(below, layer)
  heal = () => pushImage(tree.content)
  t.match(await found(tree), { damaged: [] })
  t.equal((await blobText(tree.content, name, layer))?.length, 11_000)
})

test('scrub: a blob whose time is renewed while it is read is found all the same', async t => {
  const below = await openStorage(t)
  let renewals = 2
  const tree = await treeFor(
    t,
    readingStorage(below, async (key, position) => {
      if (position > 0 && renewals-- > 0) await below.touch([key])
    })
  )
  const { layer } = await pushImage(tree.content)
  await flip(below, layer)
  t.match((await found(tree)).damaged, [{ digest: layer, action: 'quarantined' }])
})

test('scrub: a blob with an unreadable sector is quarantined, and the rest is read', async t => {
  const below = await openStorage(t)
  let broken = ''
  let asked = 0
  const tree = await treeFor(
    t,
    readingStorage(below, key => {
      if (key !== broken) return
      asked++
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    })
  )
  const { layer } = await pushImage(tree.content)
  broken = keys.blob(layer)
  const { damaged, done } = await found(tree)
  t.match(damaged, [{ digest: layer, action: 'quarantined', reason: 'cannot be read: EIO: i/o error, read' }])
  t.equal(asked, 2, 'not again and again')
  t.equal(done.blobs, 3)
})

test('scrub: a fault that says nothing of the bytes condemns nothing', async t => {
  const below = await openStorage(t)
  const tree = await treeFor(
    t,
    readingStorage(below, key => {
      if (key.startsWith(keys.blobs)) throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
    })
  )
  await pushImage(tree.content)
  const { damaged } = await found(tree)
  t.equal(damaged.length, 3)
  for (const each of damaged) t.match(each, { action: 'reported', reason: /EMFILE/ })
  t.strictSame(tree.content.quarantine.list(), [])
})

test('scrub: of one repository reads only its blobs', async t => {
  const tree = await treeFor(t)
  const other = named('other')
  const [mine, theirs] = [await pushImage(tree.content), await pushBlob(tree.content, other, 'theirs')]
  await flip(tree.storage, mine.config)
  await flip(tree.storage, theirs)
  const { damaged, done } = await found(tree, { name })
  t.match(damaged, [{ digest: mine.config }])
  t.equal(damaged.length, 1)
  t.match(done, { blobs: 3, repositories: 1 })
})

test('scrub: a repository that is not there is an error', async t => {
  await t.rejects(found(await treeFor(t), { name: named('absent') }), { name: 'UnknownRepository', message: /absent/ })
})

test('scrub: interrupted, it has reported nothing wrong, and another one finds everything', async t => {
  const tree = await treeFor(t)
  const digests = await Promise.all(Array.from({ length: 20 }, (_, at) => pushBlob(tree.content, name, `blob ${at}`)))
  for (const each of digests) await flip(tree.storage, each)
  const left = new AbortController()
  let seen = 0
  const work = eventsOf(tree, { signal: left.signal, done: () => ++seen === 7 && left.abort() })
  await t.rejects(work, { name: 'AbortError' })
  t.equal(seen, 7)
  const again = await found(tree)
  t.equal(again.done.blobs, 13, 'quarantined bytes are not read again')
  t.equal(again.damaged.length, 20)
})

test('scrub: it resumes after the digest where another one stopped', async t => {
  const tree = await treeFor(t)
  const digests = (await Promise.all(Array.from({ length: 30 }, (_, at) => pushBlob(tree.content, name, `blob ${at}`)))).sort()
  for (const stop of [0, 11, 29]) {
    const seen: string[] = []
    await eventsOf(tree, { after: { digest: digests[stop] ?? '', bytes: 0, began: 0 }, done: each => void seen.push(each) })
    t.strictSame(seen, digests.slice(stop + 1))
  }
})

test('scrub: progress only rises, and ends with all bytes', async t => {
  const tree = await treeFor(t)
  let clock = 0
  for (let at = 0; at < 5; at++) await pushBlob(tree.content, name, 'x'.repeat(at * 400_000 + 1))
  const events = await eventsOf({ ...tree, now: () => (clock += 1_000) })
  const steps = events.filter(each => each.type === 'progress').map(each => each.done)
  t.ok(steps.length > 3)
  t.strictSame(
    steps,
    steps.toSorted((a, b) => a - b)
  )
  t.match(
    events.findLast(each => each.type === 'progress'),
    { done: 4_000_005, total: 4_000_005 }
  )
})
