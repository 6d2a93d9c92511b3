import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { must, run } from './command.ts'
import { makeSample, makeSingle } from './image.ts'
import { Layout } from './layout.ts'
import { temporaryFolder } from './place.ts'
import { freshRegistry } from './registry.ts'
import { hasTools } from './tool.ts'

async function prepare(t: Test) {
  const folder = await temporaryFolder(t)
  const registry = await freshRegistry(t)
  const crane = async (...args: readonly string[]) => (await must('crane', args, { env: { DOCKER_CONFIG: folder } })).trim()
  return { folder, crane, at: (reference: string) => `${registry.address}/${reference}`, address: registry.address }
}

test('crane: an image that it pushed is valid, and comes back with every byte', async t => {
  if (!hasTools(t, 'crane')) return
  const { folder, crane, at } = await prepare(t)
  const { layout, image } = await makeSingle(join(folder, 'made'))
  await crane('push', layout.folder, at('system/deckhouse:v1'))
  t.equal(await crane('digest', at('system/deckhouse:v1')), image.digest)
  await crane('validate', '--remote', at('system/deckhouse:v1'))
  await crane('pull', '--format=oci', at('system/deckhouse:v1'), join(folder, 'pulled'))
  const pulled = Layout.open(join(folder, 'pulled'))
  t.same(await pulled.digests(), await layout.digests())
  t.same(await pulled.damaged(), [])
})

test('crane: an image index that it pushed is valid for both platforms', async t => {
  if (!hasTools(t, 'crane')) return
  const { folder, crane, at } = await prepare(t)
  const { layout, index } = await makeSample(join(folder, 'made'))
  await layout.name({ index })
  await crane('push', layout.folder, at('system/deckhouse:all'))
  t.equal(await crane('digest', at('system/deckhouse:all')), index.digest)
  for (const platform of ['linux/amd64', 'linux/arm64']) {
    const outcome = await run('crane', ['validate', '--platform', platform, '--remote', at('system/deckhouse:all')])
    t.equal(outcome.code, 0, `${platform}: ${outcome.stderr}`)
  }
})

test('crane: a copy to another repository mounts the blobs and is valid there', async t => {
  if (!hasTools(t, 'crane')) return
  const { folder, crane, at } = await prepare(t)
  const { layout, image } = await makeSingle(join(folder, 'made'))
  await crane('push', layout.folder, at('group/from:v1'))
  const copied = await run('crane', ['copy', at('group/from:v1'), at('group/into:v2')])
  t.equal(copied.code, 0, copied.stderr)
  t.equal(copied.stderr.match(/mounted blob/g)?.length, 4, 'a configuration and three layers')
  t.notMatch(copied.stderr, 'pushed blob')
  t.equal(await crane('digest', at('group/into:v2')), image.digest)
  await crane('validate', '--remote', at('group/into:v2'))
})

test('crane: catalog and ls name what is there, and delete takes one manifest away', async t => {
  if (!hasTools(t, 'crane')) return
  const { folder, crane, at, address } = await prepare(t)
  const first = await makeSingle(join(folder, 'first'))
  const second = await makeSingle(join(folder, 'second'))
  await crane('push', first.layout.folder, at('group/two:v1'))
  await crane('push', second.layout.folder, at('group/two:v2'))
  await crane('push', second.layout.folder, at('group/one:v1'))
  t.same((await crane('catalog', address)).split('\n'), ['group/one', 'group/two'])
  t.same((await crane('ls', at('group/two'))).split('\n').sort(), ['v1', 'v2'])
  await crane('delete', at(`group/two@${first.image.digest}`))
  t.equal(await crane('ls', at('group/two')), 'v2')
  await crane('validate', '--remote', at('group/two:v2'))
})
