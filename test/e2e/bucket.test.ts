import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { makeBucket, startS3 } from '../support/s3-server.ts'
import { onBucket, sampleOf, serves } from './bucket.ts'
import { must } from './command.ts'
import { containerd1, containerd2, host, startContainerd } from './containerd.ts'
import { users } from './htpasswd.ts'
import { makeSingle } from './image.ts'
import { sha256 } from './layout.ts'
import { makePki } from './pki.ts'
import { temporaryFolder } from './place.ts'
import type { Registry, Settings } from './registry.ts'
import { startRelay } from './relay.ts'
import { ask } from './request.ts'
import { push, skopeo } from './skopeo.ts'
import { hasTools, isRoot } from './tool.ts'

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
