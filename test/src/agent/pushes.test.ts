import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { ask, codeOf, digestOf, imageOf, imageType, pushBlob, pushImage, type Served, serve } from '../support.ts'
import { poolOf, routed, routeName, serveAgent } from './scene.ts'

// A push is many requests to one registry: at another replica its upload session is unknown.

const name = 'team/app'
const urlOf = ({ listen }: { listen: string }) => ({ url: `http://${listen}` })

/** Two registries with storages of their own, and an agent before them. */
async function scene(t: Parameters<typeof serve>[0]) {
  const registries = [await serve(t), await serve(t)] as const
  const agent = await serveAgent(t, routed(poolOf(...registries.map(urlOf))))
  return { registries, agent, through: agent as unknown as Served }
}

test('an image is pushed through the agent, deleted, listed and pulled again', async t => {
  const { registries, agent, through } = await scene(t)
  const layer = randomBytes(300_000)
  await pushBlob(through, name, layer)
  await pushImage(through, name, 'v1')
  t.equal((await ask(registries[0].listen, 'GET', `/v2/${name}/manifests/v1`)).status, 200, 'it is in the first replica')
  const pulled = await ask(agent.listen, 'GET', `/v2/${name}/blobs/${digestOf(layer)}?ns=${routeName}`)
  t.equal(pulled.status, 200)
  t.equal(digestOf(pulled.body), digestOf(layer))
  t.same(JSON.parse(String((await ask(agent.listen, 'GET', '/v2/_catalog')).body)), { repositories: [name] })
  t.equal((await ask(agent.listen, 'DELETE', `/v2/${name}/manifests/v1`)).status, 202)
  t.equal((await ask(agent.listen, 'GET', `/v2/${name}/manifests/v1`)).status, 404)
})

test('chunks of an upload session go to the replica where it began, and the location leads to the agent', async t => {
  const { agent } = await scene(t)
  const bytes = randomBytes(200_000)
  const begun = await ask(agent.listen, 'POST', `/v2/${name}/blobs/uploads/`)
  t.equal(begun.status, 202)
  const location = String(begun.headers['location'])
  t.match(location, /^\/v2\/team\/app\/blobs\/uploads\/[0-9a-f-]{36}$/)
  for (const [from, to] of [
    [0, 100_000],
    [100_000, 200_000]
  ] as const) {
    const headers = { 'content-range': `${from}-${to - 1}` }
    t.equal((await ask(agent.listen, 'PATCH', location, { headers, body: bytes.subarray(from, to) })).status, 202)
    t.equal((await ask(agent.listen, 'GET', location)).headers['range'], `0-${to - 1}`)
  }
  t.equal((await ask(agent.listen, 'PUT', `${location}?digest=${digestOf(bytes)}`)).status, 201)
  t.equal((await ask(agent.listen, 'GET', location)).status, 404, 'the session has ended')
})

test('what a replica refuses of a push reaches the client as the replica said it', async t => {
  const { agent, through } = await scene(t)
  const begun = await ask(agent.listen, 'POST', `/v2/${name}/blobs/uploads/`)
  const wrong = await ask(agent.listen, 'PUT', `${begun.headers['location']}?digest=${digestOf('other')}`, { body: 'bytes' })
  t.same([wrong.status, codeOf(wrong)], [400, 'DIGEST_INVALID'])
  await pushBlob(through, name, Buffer.from('{}'))
  const headers = { 'content-type': imageType }
  const incomplete = await ask(agent.listen, 'PUT', `/v2/${name}/manifests/v1`, {
    headers,
    body: imageOf([Buffer.from('{}'), Buffer.from('absent')])
  })
  t.same([incomplete.status, codeOf(incomplete)], [404, 'MANIFEST_BLOB_UNKNOWN'])
  const broken = await ask(agent.listen, 'PUT', `/v2/${name}/manifests/v1`, { headers, body: '{}' })
  t.same([broken.status, codeOf(broken)], [400, 'MANIFEST_INVALID'])
})

test('a mount within a replica, and a push that begins while one replica is down', async t => {
  const { registries, agent, through } = await scene(t)
  const digest = await pushBlob(through, name, Buffer.from('mounted'))
  const mounted = await ask(agent.listen, 'POST', `/v2/team/other/blobs/uploads/?mount=${digest}&from=${name}`)
  t.equal(mounted.status, 201)
  await registries[0].stop()
  await pushBlob(through, name, Buffer.from('elsewhere'))
  t.equal((await ask(registries[1].listen, 'HEAD', `/v2/${name}/blobs/${digestOf('elsewhere')}`)).status, 200)
})
