import { test } from 'tap'
import { Column, DigestTable } from '../../../src/content/digest-table.ts'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { du, type RepositoryUsage } from '../../../src/operations/du.ts'
import type { Tree } from '../../../src/operations/tree.ts'
import { imageOf, named, neverAborted, pushBlob, storeManifest, tagged } from '../../support/content.ts'
import { flip, treeFor } from './scene.ts'

const told = async (tree: Tree) => (await Array.fromAsync(du(tree, neverAborted))).filter(each => each.type !== 'progress')
const [one, two, three] = [named('one'), named('two'), named('two/three')]

test('du: what one repository has is its own, what several have is shared, and the sum counts each once', async t => {
  const tree = await treeFor(t)
  const { content } = tree
  await pushBlob(content, one, 'x'.repeat(100))
  for (const name of [one, two, three]) await pushBlob(content, name, 'y'.repeat(1000))
  for (const name of [two, three]) await pushBlob(content, name, 'z'.repeat(10_000))
  const manifest = imageOf('c', [])
  await storeManifest(content, two, manifest, { tags: [tagged('v1'), tagged('v2')] })
  const gone = await pushBlob(content, three, 'unlinked')
  await content.commit.unlinkBlob(three, gone)
  const events = await Array.fromAsync(du(tree, neverAborted))
  t.strictSame(
    events.filter(each => each.type === 'repository'),
    [
      { type: 'repository', name: one, bytes: 1_100, own: 100, shared: 1_000, blobs: 2, manifests: 0, tags: 0 },
      {
        type: 'repository',
        name: two,
        bytes: 11_000 + manifest.length,
        own: manifest.length,
        shared: 11_000,
        blobs: 2,
        manifests: 1,
        tags: 2
      },
      { type: 'repository', name: three, bytes: 11_000, own: 0, shared: 11_000, blobs: 2, manifests: 0, tags: 0 }
    ] satisfies RepositoryUsage[]
  )
  t.strictSame(events.at(-1), {
    type: 'done',
    repositories: 3,
    bytes: 11_100 + manifest.length,
    blobs: 4,
    unlinked: 8,
    quarantined: 0
  })
})

test('du: a digest that is both a blob and a manifest of a repository is counted once', async t => {
  const tree = await treeFor(t)
  const bytes = imageOf('c', [])
  await storeManifest(tree.content, one, bytes)
  await pushBlob(tree.content, one, bytes)
  t.match(await told(tree), [
    { bytes: bytes.length, own: bytes.length, shared: 0 },
    { type: 'done', bytes: bytes.length }
  ])
})

test('du: quarantined bytes are reported, and are in no repository', async t => {
  const tree = await treeFor(t)
  const digest = await pushBlob(tree.content, one, 'blob')
  await flip(tree.storage, digest)
  const seen = await tree.content.blobs.open(one, digest)
  await seen?.body.close()
  const { scrub } = await import('../../../src/operations/scrub.ts')
  await Array.fromAsync(scrub(tree, { signal: neverAborted }))
  t.match(await told(tree), [{ bytes: 0 }, { bytes: 0, quarantined: 4 }])
})

test('du: an empty store is an answer', async t => {
  t.match(await told(await treeFor(t)), [{ type: 'done', repositories: 0, bytes: 0, unlinked: 0 }])
})

test('du: it ends with its signal', async t => {
  const tree = await treeFor(t)
  await pushBlob(tree.content, one, 'blob')
  await t.rejects(Array.fromAsync(du(tree, AbortSignal.abort())), { name: 'AbortError' })
})

test('digest table: each digest has its number, however many there are', t => {
  const table = new DigestTable()
  const digests: Digest[] = Array.from({ length: 20_000 }, (_, at) => digestOf(Buffer.from(String(at)), at % 7 === 0 ? 'sha512' : 'sha256'))
  for (const [at, each] of digests.entries()) if (table.add(each) !== at) t.fail(`${at}`)
  for (const [at, each] of digests.entries()) if (table.add(each) !== at || table.find(each) !== at) t.fail(`${at} again`)
  t.equal(table.size, digests.length)
  t.equal(table.find(digestOf(Buffer.from('never added'))), undefined)
  t.end()
})

test('column: a value that was never set is 0, at any index', t => {
  const column = new Column()
  column.set(5, 1.5)
  column.set(100_000, 2 ** 50)
  t.strictSame([column.get(5), column.get(6), column.get(100_000), column.get(10_000_000)], [1.5, 0, 2 ** 50, 0])
  t.end()
})
