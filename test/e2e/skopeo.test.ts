import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { layersOf, makeSample } from './image.ts'
import { temporaryFolder } from './place.ts'
import { dataPath, freshRegistry, target } from './registry.ts'
import { ask } from './request.ts'
import { pull, push, skopeo } from './skopeo.ts'
import { hasTools } from './tool.ts'

test('skopeo: an image of several layers comes back with its digest and every byte', async t => {
  if (!hasTools(t, 'skopeo')) return
  const folder = await temporaryFolder(t)
  const { layout, image } = await makeSample(join(folder, 'made'))
  const registry = await freshRegistry(t)
  await push(registry, { layout, tag: 'image', to: 'system/deckhouse:v1' })
  const answer = await ask(registry, { method: 'HEAD', path: '/v2/system/deckhouse/manifests/v1', headers: { accept: image.mediaType } })
  t.equal(answer.status, 200)
  t.equal(answer.headers['docker-content-digest'], image.digest)
  const pulled = await pull(registry, 'system/deckhouse:v1', folder)
  t.same(await pulled.damaged(), [])
  t.same((await pulled.read(image.digest)).compare(await layout.read(image.digest)), 0)
  t.equal((await pulled.digests()).length, 5, 'a manifest, a configuration and three layers')
})

test('skopeo: an image index comes back with both platforms and every byte', async t => {
  if (!hasTools(t, 'skopeo')) return
  const folder = await temporaryFolder(t)
  const { layout, index } = await makeSample(join(folder, 'made'))
  const registry = await freshRegistry(t)
  await push(registry, { layout, tag: 'index', to: 'system/deckhouse:all' })
  for (const reference of ['system/deckhouse:all', `system/deckhouse@${index.digest}`]) {
    const pulled = await pull(registry, reference, folder)
    t.same(await pulled.digests(), await layout.digests(), reference)
    t.same(await pulled.damaged(), [], reference)
  }
})

test('skopeo: a second push of the same image succeeds and writes no blob anew', async t => {
  if (!hasTools(t, 'skopeo')) return
  const folder = await temporaryFolder(t)
  const { layout, image } = await makeSample(join(folder, 'made'))
  const registry = await freshRegistry(t)
  await push(registry, { layout, tag: 'image', to: 'one:v1' })
  const files = await Promise.all((await layersOf(layout, image)).map(digest => dataPath(registry.root, digest)))
  const before = await Promise.all(files.map(async file => (await stat(file)).ino))
  await push(registry, { layout, tag: 'image', to: 'one:v1' })
  t.same(await Promise.all(files.map(async file => (await stat(file)).ino)), before)
  const found: unknown = JSON.parse(await skopeo(['inspect', '--tls-verify=false', `docker://${registry.address}/one:v1`]))
  t.match(found, { Digest: image.digest, Architecture: 'amd64' })
})

test('skopeo: list-tags names every tag once, in order', async t => {
  if (!hasTools(t, 'skopeo')) return
  const { layout } = await makeSample(join(await temporaryFolder(t), 'made'))
  const registry = await freshRegistry(t)
  for (const tag of ['v10', 'v2', 'latest']) await push(registry, { layout, tag: 'image', to: `group/one:${tag}` })
  const listed: { Tags: string[] } = JSON.parse(await skopeo(['list-tags', '--tls-verify=false', `docker://${registry.address}/group/one`]))
  // docker-registry lists them in the order of their folder.
  t.same(target === 'product' ? listed.Tags : listed.Tags.sort(), ['latest', 'v10', 'v2'])
})

test('skopeo: delete takes the manifest and its tag away and leaves the others', async t => {
  if (!hasTools(t, 'skopeo')) return
  const folder = await temporaryFolder(t)
  const first = await makeSample(join(folder, 'first'))
  const second = await makeSample(join(folder, 'second'))
  const registry = await freshRegistry(t)
  await push(registry, { layout: first.layout, tag: 'image', to: 'one:gone' })
  await push(registry, { layout: second.layout, tag: 'image', to: 'one:kept' })
  await skopeo(['delete', '--tls-verify=false', `docker://${registry.address}/one:gone`])
  const accept = { accept: first.image.mediaType }
  t.equal((await ask(registry, { path: '/v2/one/manifests/gone', headers: accept })).status, 404)
  t.equal((await ask(registry, { path: `/v2/one/manifests/${first.image.digest}`, headers: accept })).status, 404)
  t.same(await (await pull(registry, 'one:kept', folder)).damaged(), [])
})
