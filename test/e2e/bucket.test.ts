import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { test } from 'tap'
import type { S3Server } from '../support/s3-server.ts'
import { makeBucket, s3Settings, startS3 } from '../support/s3-server.ts'
import { must } from './command.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { startDistribution } from './distribution.ts'
import { users } from './htpasswd.ts'
import type { SampleLayout } from './image.ts'
import { makeSample, makeSingle } from './image.ts'
import { sha256 } from './layout.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Product, Registry, RegistryOptions, Settings } from './registry.ts'
import { startProduct } from './registry.ts'
import { startRelay } from './relay.ts'
import { ask } from './request.ts'
import { pull, push, skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

/** The product with everything in a bucket. */
async function onBucket(
  t: Test,
  server: S3Server,
  { bucket = makeBucket(server), settings = {}, ...options }: Partial<RegistryOptions> & { bucket?: string } = {}
): Promise<Product> {
  const folder = await temporaryFolder(t)
  const storage = { s3: s3Settings(server, bucket, join(folder, 'spool')) }
  return await startProduct(t, { root: join(folder, 'unused'), ...options, settings: { ...settings, storage } })
}

async function sampleOf(t: Test): Promise<SampleLayout> {
  return await makeSample(join(await temporaryFolder(t), 'made'))
}

/** Everything of the index comes back, by its tag and by its digest. */
async function serves(t: Test, registry: Registry, name: string, { layout, index }: SampleLayout): Promise<void> {
  for (const reference of [`${name}:all`, `${name}@${index.digest}`]) {
    const pulled = await pull(registry, reference, await temporaryFolder(t))
    t.same(await pulled.digests(), await layout.digests(), `${reference} is whole`)
    t.same(await pulled.damaged(), [], `${reference} has no damaged blob`)
  }
}

function sessionOf({ location = '' }: IncomingHttpHeaders): { path: string } {
  return { path: new URL(location, 'http://registry').pathname }
}

const plain = ['--src-tls-verify=false', '--dest-tls-verify=false']

test('a bucket: skopeo pushes, copies, inspects, lists and deletes', async t => {
  if (!hasTools(t, 'skopeo')) return
  const server = await startS3(t)
  if (!server) return
  const [registry, sample] = [await onBucket(t, server), await sampleOf(t)]
  const { layout, image, index } = sample
  await push(registry, { layout, tag: 'index', to: 'one:all' })
  await push(registry, { layout, tag: 'image', to: 'one:v1' })
  const at = (reference: string) => `docker://${registry.address}/${reference}`
  await skopeo(['copy', '--all', '--preserve-digests', ...plain, at('one:all'), at('two/deep:all')])
  t.match(JSON.parse(await skopeo(['inspect', '--tls-verify=false', at('one:v1')])), { Digest: image.digest, Architecture: 'amd64' })
  t.match(JSON.parse(await skopeo(['list-tags', '--tls-verify=false', at('one')])), { Tags: ['all', 'v1'] })
  for (const name of ['one', 'two/deep']) await serves(t, registry, name, sample)
  await skopeo(['delete', '--tls-verify=false', at('one:all')])
  t.equal((await ask(registry, { path: '/v2/one/manifests/all' })).status, 404)
  t.equal((await ask(registry, { path: `/v2/one/manifests/${index.digest}` })).status, 404)
  await serves(t, registry, 'two/deep', sample)
})

for (const version of [containerd1, containerd2]) {
  test(`a bucket, ${version.title}: Proxy fills it, and Local serves what it holds when the upstream is gone`, async t => {
    if (!isRoot(t) || !hasTools(t, 'skopeo', 'openssl', version.daemon, version.client)) return
    const server = await startS3(t)
    if (!server) return
    const folder = await temporaryFolder(t)
    const [upstream, sample, pki] = [await onBucket(t, server), await makeSingle(join(folder, 'made')), await makePki(folder)]
    await push(upstream, { layout: sample.layout, tag: 'image', to: 'deckhouse/ee:v1' })
    const proxy: Settings = {
      registry: { mode: 'Proxy', proxy: { imagesRepo: `${upstream.address}/deckhouse/ee`, scheme: 'HTTP' } },
      server: { path: 'system/deckhouse' }
    }
    const bucket = makeBucket(server)
    const pulls = async (registry: Registry) => {
      const { socket, hosts } = await startContainerd(t, version, registry)
      const ctr = (...args: readonly string[]) => must(version.client, ['--address', socket, ...args])
      const options = ['--hosts-dir', hosts, '--snapshotter', 'native', '--platform', 'linux/amd64', '--user', `ro:${users.ro.password}`]
      await ctr('images', 'pull', ...options, `${host}/system/deckhouse:v1`)
      t.match(await ctr('images', 'ls'), new RegExp(`${host}/system/deckhouse:v1 .*${sample.image.digest}`))
      const listed = (await ctr('content', 'ls', '--quiet')).split('\n').filter(line => line !== '')
      t.same(listed.sort(), await sample.layout.digests(), 'the node holds the whole image')
    }
    const filling = await onBucket(t, server, { bucket, users, pki, settings: proxy })
    await pulls(filling)
    await filling.stop()
    await upstream.stop()
    await pulls(await onBucket(t, server, { bucket, users, pki }))
  })
}

test('a bucket: behind two registries that take turns, one request each, clients push, pull at once and delete', async t => {
  if (!hasTools(t, 'skopeo')) return
  const server = await startS3(t)
  if (!server) return
  const [bucket, sample] = [makeBucket(server), await sampleOf(t)]
  const settings = { cache: { metadataTTL: '500ms' } }
  const both = [await onBucket(t, server, { bucket, settings }), await onBucket(t, server, { bucket, settings })] as const
  const [one, other] = both
  let turn = 0
  const relay = await startRelay(() => both[++turn % 2 === 0 ? 0 : 1].address)
  t.teardown(() => relay.stop())
  const front: Registry = { ...one, address: relay.address }
  await push(front, { layout: sample.layout, tag: 'index', to: 'one:all' })
  await serves(t, front, 'one', sample)
  for (const each of both) await serves(t, each, 'one', sample)
  t.ok(turn > 40, 'both were asked')

  const bytes = randomBytes(13 << 20)
  let { headers } = await ask(front, { method: 'POST', path: '/v2/two/blobs/uploads/' })
  for (const [first, next] of [
    [0, 100_000],
    [100_000, 6 << 20],
    [6 << 20, 12 << 20]
  ] as const) {
    const body = bytes.subarray(first, next)
    const answer = await ask(front, { method: 'PATCH', ...sessionOf(headers), headers: { 'content-range': `${first}-${next - 1}` }, body })
    t.equal(answer.status, 202)
    ;({ headers } = answer)
  }
  const { path } = sessionOf(headers)
  const digest = sha256(bytes)
  t.equal((await ask(front, { method: 'PUT', path: `${path}?digest=${digest}`, body: bytes.subarray(12 << 20) })).status, 201)
  const again = async (each: Registry) => (await ask(each, { path: `/v2/two/blobs/${digest}` })).body.equals(bytes)
  t.ok((await again(front)) && (await again(front)), 'both have all of it')

  const status = async (each: Registry) => (await ask(each, { method: 'HEAD', path: '/v2/one/manifests/all' })).status
  t.equal(await status(other), 200)
  await skopeo(['delete', '--tls-verify=false', `docker://${one.address}/one:all`])
  t.equal(await status(one), 404, 'at once where it was deleted')
  while ((await status(other)) !== 404) await sleep(50)
  for (const each of both) t.equal((await ask(each, { path: `/v2/one/manifests/${sample.index.digest}` })).status, 404)
})

test('a bucket: docker-registry serves what we pushed, we serve what it pushed, both at the same time', async t => {
  if (!hasTools(t, 'skopeo', 'docker-registry')) return
  const server = await startS3(t)
  if (!server) return
  const bucket = makeBucket(server)
  const ours = await onBucket(t, server, { bucket })
  const theirs = await startDistribution(t, { root: await temporaryFolder(t), s3: { server, bucket } })
  const [first, second, third] = [await sampleOf(t), await sampleOf(t), await sampleOf(t)]
  await push(ours, { layout: first.layout, tag: 'index', to: 'ours:all' })
  await serves(t, theirs, 'ours', first)
  await push(theirs, { layout: second.layout, tag: 'index', to: 'theirs/deep:all' })
  await serves(t, ours, 'theirs/deep', second)
  // Into a repository of the other one, over its tag.
  await push(theirs, { layout: third.layout, tag: 'index', to: 'ours:all' })
  await push(ours, { layout: third.layout, tag: 'index', to: 'theirs/deep:all' })
  for (const registry of [ours, theirs]) {
    const catalog: unknown = JSON.parse((await ask(registry, { path: '/v2/_catalog' })).body.toString())
    t.same(catalog, { repositories: ['ours', 'theirs/deep'] })
  }
  await serves(t, theirs, 'theirs/deep', third)
  // For cache.metadataTTL we may still give the tag that was.
  const now = async () => (await ask(ours, { method: 'HEAD', path: '/v2/ours/manifests/all' })).headers['docker-content-digest']
  while ((await now()) !== third.index.digest) await sleep(100)
  await serves(t, ours, 'ours', third)
})
