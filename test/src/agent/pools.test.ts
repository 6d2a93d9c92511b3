import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { startUpstream, UpstreamContent } from '../../support/upstream.ts'
import { ask } from '../support.ts'
import { poolOf, routed, routeName, serveAgent } from './scene.ts'

// What each answer of the replicas becomes at the agent: containerd asks no other host.

const name = 'system/deckhouse/app'

async function replicas(t: Parameters<typeof startUpstream>[0], count: number) {
  const content = new UpstreamContent()
  const servers = await Promise.all(Array.from({ length: count }, () => startUpstream(t, { content })))
  return { content, servers }
}

test('a manifest and a blob come from a replica, with digest and length, by GET and by HEAD', async t => {
  const { content, servers } = await replicas(t, 2)
  const image = content.addImage(name, 'v1')
  const agent = await serveAgent(t, routed(poolOf(...servers)))
  for (const method of ['GET', 'HEAD']) {
    const manifest = await ask(agent.listen, method, `/v2/${name}/manifests/v1?ns=${routeName}`)
    t.equal(manifest.status, 200)
    t.equal(manifest.headers['docker-content-digest'], image.digest)
    t.equal(manifest.headers['content-length'], String(image.size))
    const blob = await ask(agent.listen, method, `/v2/${name}/blobs/${image.layer}?ns=${routeName}`)
    t.equal(blob.status, 200)
    t.equal(blob.headers['docker-content-digest'], image.layer)
    t.equal(blob.headers['content-length'], '256')
  }
  const queries = servers.flatMap(each => each.requests).flatMap(({ path, query }) => (path === '/' ? [] : [query]))
  t.same([...new Set(queries)], ['ns=registry.test%3A5001'], 'ns= is passed on')
})

test('404 only when every replica said so, and 503 with Retry-After when one could not be asked', async t => {
  const { servers } = await replicas(t, 2)
  const agent = await serveAgent(t, routed(poolOf(...servers)))
  const path = `/v2/${name}/manifests/absent`
  t.equal((await ask(agent.listen, 'GET', path)).status, 404)
  t.equal(
    servers.reduce((sum, each) => sum + each.count('manifests/absent'), 0),
    2,
    'both were asked'
  )
  await servers[1]?.stop()
  for (const method of ['GET', 'HEAD']) {
    const answer = await ask(agent.listen, method, path)
    t.equal(answer.status, 503)
    t.equal(answer.headers['retry-after'], '1')
  }
  await servers[1]?.start()
  t.equal((await ask(agent.listen, 'GET', path)).status, 404, 'it can be asked again')
})

test('content that only one replica has is found, whichever that is', async t => {
  const [one, other] = [await startUpstream(t), await startUpstream(t)]
  const agent = await serveAgent(t, routed(poolOf(one, other)))
  for (const server of [one, other]) {
    const blob = server.addBlob(name, randomBytes(1000))
    const image = server.addImage(name, `of-${server.url.length}-${blob.slice(7, 12)}`)
    t.equal((await ask(agent.listen, 'GET', `/v2/${name}/blobs/${blob}`)).status, 200)
    t.equal((await ask(agent.listen, 'HEAD', `/v2/${name}/blobs/${blob}`)).status, 200)
    t.equal((await ask(agent.listen, 'GET', `/v2/${name}/manifests/${image.digest}`)).status, 200)
  }
})

test('a replica that answers a page, 500 or wrong bytes is passed over', async t => {
  const { content, servers } = await replicas(t, 2)
  const [bad] = servers
  const agent = await serveAgent(t, routed(poolOf(...servers)))
  if (!bad) return
  for (const fault of ['html', 'json', 'status', 'wrong'] as const) {
    const image = content.addImage(name, fault)
    bad.faults.page = fault === 'html' || fault === 'json' ? fault : undefined
    bad.faults.statuses = fault === 'status' ? [{ status: 500 }] : []
    bad.faults.wrongByte = fault === 'wrong' ? 10 : undefined
    for (const path of [`manifests/${fault}`, `manifests/${image.digest}`, ...(fault === 'wrong' ? [] : [`blobs/${image.layer}`])]) {
      t.equal((await ask(agent.listen, 'GET', `/v2/${name}/${path}`)).status, 200, `${fault} ${path}`)
      t.equal((await ask(agent.listen, 'HEAD', `/v2/${name}/${path}`)).status, 200, `HEAD ${fault} ${path}`)
    }
  }
})

test('pools are asked in order: the next one where one does not have the content, or cannot be asked', async t => {
  const [old, next] = [await startUpstream(t), await startUpstream(t)]
  const both = old.addImage(name, 'both')
  const newer = next.addImage(name, 'both')
  const only = next.addImage(name, 'only')
  const agent = await serveAgent(t, routed(poolOf(old), poolOf(next)))
  const digestBy = async (reference: string) =>
    (await ask(agent.listen, 'GET', `/v2/${name}/manifests/${reference}`)).headers['docker-content-digest']
  t.equal(await digestBy('both'), both.digest, 'of the first pool that has the tag')
  t.equal(await digestBy('only'), only.digest)
  await old.stop()
  t.equal(await digestBy('both'), newer.digest, 'the first pool is down')
  t.equal((await ask(agent.listen, 'GET', `/v2/${name}/manifests/absent`)).status, 503, 'the first pool might have it')
})

test('a name that no route has is 404 and asks no replica; without ns= the first route is taken', async t => {
  const { content, servers } = await replicas(t, 1)
  content.addImage(name, 'v1')
  const agent = await serveAgent(t, routed(poolOf(...servers)))
  t.equal((await ask(agent.listen, 'GET', `/v2/${name}/manifests/v1?ns=docker.io`)).status, 404)
  t.equal(servers[0]?.count('/v2/'), 0)
  t.equal((await ask(agent.listen, 'GET', `/v2/${name}/manifests/v1`)).status, 200)
  t.same(
    servers[0]?.requests.filter(each => each.path !== '/').map(each => each.query),
    ['']
  )
})

test('a pool with imagesRepo maps the path, as Direct does', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage('deckhouse/ee/app', 'v1')
  const agent = await serveAgent(t, routed({ imagesRepo: `${new URL(upstream.url).host}/deckhouse/ee`, scheme: 'HTTP' }))
  const answer = await ask(agent.listen, 'GET', `/v2/${name}/manifests/v1?ns=${routeName}`)
  t.equal(answer.headers['docker-content-digest'], image.digest)
  t.equal((await ask(agent.listen, 'POST', `/v2/${name}/blobs/uploads/`)).status, 405, 'it takes no pushes')
})

test('a redirect of a replica is followed, and never passed on', async t => {
  const [replica, store] = [await startUpstream(t), await startUpstream(t)]
  const digest = replica.addBlob(name, randomBytes(5000))
  store.addBlob(name, Buffer.from('not asked'))
  store.content.blobs.set(name, replica.content.blobs.get(name) ?? new Map())
  replica.faults.redirect = store.url
  const agent = await serveAgent(t, routed({ ...poolOf(replica), redirectHosts: ['127.0.0.1'] }))
  t.equal((await ask(agent.listen, 'GET', `/v2/${name}/blobs/${digest}`)).status, 200)
  const refusing = await serveAgent(t, routed(poolOf(replica)))
  t.equal((await ask(refusing.listen, 'GET', `/v2/${name}/blobs/${digest}`)).status, 503, 'where it may not go')
})
