import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { openContent } from '../../src/content/content.ts'
import { collect } from '../../src/content/gc/collect.ts'
import { FilesystemStorage } from '../../storage/fs/filesystem.ts'
import { collectGarbage, startDistribution } from './distribution.ts'
import type { SampleLayout } from './image.ts'
import { makeSample } from './image.ts'
import { temporaryFolder } from './place.ts'
import type { Registry } from './registry.ts'
import { dataPath, startRegistry } from './registry.ts'
import { addBlob, ask } from './request.ts'
import { pull, push } from './skopeo.ts'
import { hasTools } from './tool.ts'

// One process owns a root: whoever wrote it is stopped before the other opens it.
const names = ['one', 'system/deckhouse']

async function fill(registry: Registry, { layout }: SampleLayout): Promise<void> {
  for (const name of names) {
    await push(registry, { layout, tag: 'index', to: `${name}:all` })
    await push(registry, { layout, tag: 'image', to: `${name}:v1` })
  }
}

async function serves(t: Test, registry: Registry, { layout, image, index }: SampleLayout): Promise<void> {
  const catalog: unknown = JSON.parse((await ask(registry, { path: '/v2/_catalog' })).body.toString())
  t.same(catalog, { repositories: names }, 'the catalog lists both repositories')
  for (const name of names) {
    for (const reference of [`${name}:all`, `${name}@${index.digest}`, `${name}:v1`, `${name}@${image.digest}`]) {
      const folder = await temporaryFolder(t)
      const pulled = await pull(registry, reference, folder)
      t.same(await pulled.damaged(), [], `${reference} has no damaged blob`)
      const expected = reference.startsWith(`${name}:all`) || reference.endsWith(index.digest) ? (await layout.digests()).length : 5
      t.equal((await pulled.digests()).length, expected, `${reference} is whole`)
    }
  }
}

async function prepare(t: Test) {
  const folder = await temporaryFolder(t)
  return { root: join(folder, 'root'), sample: await makeSample(join(folder, 'made')) }
}

test('compatibility: docker-registry serves a tree that we wrote', async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const { root, sample } = await prepare(t)
  const writer = await startRegistry(t, { root })
  await fill(writer, sample)
  await writer.stop()
  await serves(t, await startDistribution(t, { root }), sample)
})

test('compatibility: we serve a tree that docker-registry wrote', async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const { root, sample } = await prepare(t)
  const writer = await startDistribution(t, { root })
  await fill(writer, sample)
  await writer.stop()
  await serves(t, await startRegistry(t, { root }), sample)
})

test('compatibility: both write into one tree in turn, and each serves what the other added', async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const { root, sample } = await prepare(t)
  const before = await startDistribution(t, { root })
  await push(before, { layout: sample.layout, tag: 'index', to: 'one:all' })
  await before.stop()
  const ours = await startRegistry(t, { root })
  await fill(ours, sample)
  await ours.stop()
  await serves(t, await startDistribution(t, { root }), sample)
})

test("compatibility: docker-registry's garbage-collect removes what nothing refers to and leaves everything else", async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const { root, sample } = await prepare(t)
  const writer = await startRegistry(t, { root })
  await fill(writer, sample)
  const loose = await addBlob(writer, 'one', Buffer.from('nobody refers to this'))
  await writer.stop()
  await collectGarbage(t, { root })
  t.notOk(existsSync(dataPath(root, loose)), 'the blob that nothing refers to is gone')
  const reader = await startRegistry(t, { root })
  await serves(t, reader, sample)
  t.equal((await ask(reader, { method: 'HEAD', path: `/v2/one/blobs/${loose}` })).status, 404, 'and unknown to us')
})

test('compatibility: docker-registry serves a tree from which we removed what nothing needs', async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const { root, sample } = await prepare(t)
  const writer = await startDistribution(t, { root })
  await fill(writer, sample)
  const loose = await addBlob(writer, 'one', Buffer.from('nothing needs this'))
  await writer.stop()
  const storage = await FilesystemStorage.open(root)
  const later = () => Date.now() + 2 * 3_600_000
  const events = collect(
    storage,
    openContent(storage, () => {}),
    { grace: 3_600_000, unreferencedCached: 'sweep', yielder: { step: async () => {} }, now: later }
  )
  const removed = (await Array.fromAsync(events)).filter(each => each.type === 'remove')
  await storage.close()
  t.match(
    removed.filter(each => each.kind === 'blob'),
    [{ digest: loose }]
  )
  t.notOk(existsSync(dataPath(root, loose)), 'the bytes are gone')
  await serves(t, await startDistribution(t, { root }), sample)
})
