import { test } from 'tap'
import * as keys from '../../../src/content/keys.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { purge } from '../../../src/operations/purge.ts'
import { parseTarget } from '../../../src/operations/purge-target.ts'
import type { Tree } from '../../../src/operations/tree.ts'
import { imageOf, named, neverAborted, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { keysBelow } from '../../support/storage.ts'
import { name, pushImage, treeFor } from './scene.ts'

const purged = (tree: Tree, target: string, pushed: 'refused' | 'included' = 'included', signal = neverAborted) =>
  Array.fromAsync(purge(parseTarget(target), tree, { pushed, signal }))

const origin = { upstream: 'upstream.test', checked: 1 }

test('purge: of a tag removes it, and keeps its manifest and the other tags', async t => {
  const tree = await treeFor(t)
  const { manifest, bytes } = await pushImage(tree.content)
  await storeManifest(tree.content, name, bytes, { tags: [tagged('latest')] })
  t.strictSame(await purged(tree, `${name}:v1`), [
    { type: 'removed', kind: 'tag', name, tag: 'v1', digest: manifest },
    { type: 'done', tags: 1, manifests: 0, blobs: 0 }
  ])
  t.strictSame((await tree.content.tags.list(name, {})).items, ['latest'])
  t.ok(await tree.content.manifests.get(name, manifest))
})

test('purge: of a manifest removes its tags and its entry among the referrers too', async t => {
  const tree = await treeFor(t)
  const { manifest, bytes } = await pushImage(tree.content)
  const more = { subject: { mediaType: 'application/json', digest: manifest, size: bytes.length } }
  const referrer = await storeManifest(tree.content, name, imageOf('config of v1', [], more), {
    subject: manifest,
    tags: [tagged('signature')]
  })
  t.match(await purged(tree, `${name}@${referrer}`), [
    { kind: 'tag', tag: 'signature' },
    { kind: 'manifest', digest: referrer },
    { tags: 1, manifests: 1 }
  ])
  t.strictSame(
    (await keysBelow(tree.storage, keys.repository(name))).filter(key => key.includes('_referrers')),
    []
  )
})

test('purge: of a blob removes it from the named repository alone', async t => {
  const tree = await treeFor(t)
  const digest = await pushBlob(tree.content, name, 'shared')
  await pushBlob(tree.content, named('other'), 'shared')
  t.match(await purged(tree, `${name}@${digest}`), [{ kind: 'blob', digest }, { blobs: 1 }])
  t.equal(await tree.content.blobs.linked(name, digest), undefined)
  t.ok(await tree.content.blobs.linked(named('other'), digest))
})

test('purge: of a repository removes it whole and from the catalog; one below it stays', async t => {
  const tree = await treeFor(t)
  const below = named(`${name}/below`)
  await pushImage(tree.content)
  await pushImage(tree.content, 'v2')
  await pushImage(tree.content, 'v1', { at: below })
  t.match((await purged(tree, name)).at(-1), { type: 'done', tags: 2, manifests: 2, blobs: 4 })
  t.strictSame((await tree.content.names.list({})).items, [below])
  t.strictSame(
    (await keysBelow(tree.storage, keys.repository(name))).filter(key => !key.includes('/below/')),
    []
  )
  await pushImage(tree.content)
  t.strictSame((await tree.content.names.list({})).items, [name, below], 'and can be pushed again')
})

test('purge: the rest of a repository is removed after an interrupted purge', async t => {
  const tree = await treeFor(t)
  await pushImage(tree.content)
  const left = new AbortController()
  let seen = 0
  await t.rejects(
    async () => {
      for await (const _ of purge({ name }, tree, { pushed: 'included', signal: left.signal })) if (++seen === 2) left.abort()
    },
    { name: 'AbortError' }
  )
  t.ok(await tree.content.names.has(name))
  t.strictSame((await tree.content.tags.list(name, {})).items, [], 'tags go first: none may lead nowhere')
  await purged(tree, name)
  t.equal(await tree.content.names.has(name), false)
  await t.rejects(purged(tree, name), { name: 'NothingToPurge' })
})

test('purge: cached content is removed unconfirmed, with its provenance records; pushed content is not, and then nothing is', async t => {
  const tree = await treeFor(t)
  const { content } = tree
  const cached = imageOf('cached', [])
  const digest = digestOf(cached)
  await content.commit.putManifest(name, digest, cached, { tags: [tagged('cached')], provenance: { ...origin, digest } })
  await pushImage(content, 'pushed')
  await t.rejects(purged(tree, name, 'refused'), { name: 'PushedContent', message: /4 objects were pushed.*--yes/ })
  await t.rejects(purged(tree, `${name}:pushed`, 'refused'), { name: 'PushedContent' })
  t.strictSame((await content.tags.list(name, {})).items, ['cached', 'pushed'])
  t.match((await purged(tree, `${name}@${digest}`, 'refused')).at(-1), { tags: 1, manifests: 1 })
  t.strictSame(await keysBelow(tree.storage, keys.provenance), [])
})

for (const target of ['absent', 'absent:v1', `${name}:v9`, `${name}@${digestOf(Buffer.from('absent'))}`]) {
  test(`purge: ${target.slice(0, 30)} is not there`, async t => {
    const tree = await treeFor(t)
    await pushImage(tree.content)
    await t.rejects(purged(tree, target), { name: 'NothingToPurge' })
  })
}

for (const text of [
  '',
  ':',
  '@',
  ':v1',
  '@sha256:abc',
  'a:',
  'a@',
  'a@v1',
  'a@sha256:abc',
  'A/B:v1',
  '../etc',
  'a/../b',
  '/a',
  'a/',
  '-rf',
  'host:5000/a:v1',
  'a:v1:v2',
  'a:v 1',
  'a\u0000b',
  'a:v1\n',
  `a:${'v'.repeat(129)}`,
  'a'.repeat(256),
  `a:v1@${digestOf(Buffer.from('x'))}`,
  '*',
  'a/*'
]) {
  test(`purge: ${JSON.stringify(text.slice(0, 30))} names nothing`, t => {
    t.throws(() => parseTarget(text), { name: 'MalformedTarget' })
    t.end()
  })
}

test('purge: a target is a name, a tag or a digest', t => {
  const digest = digestOf(Buffer.from('x'))
  t.strictSame(parseTarget('a/b'), { name: 'a/b' })
  t.strictSame(parseTarget('a/b:v1.0_x-Y'), { name: 'a/b', tag: 'v1.0_x-Y' })
  t.strictSame(parseTarget(`a/b@${digest}`), { name: 'a/b', digest })
  t.end()
})
