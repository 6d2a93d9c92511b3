// An upload session is one replica's: what another one is asked about it, it does not know.
import { randomBytes } from 'node:crypto'
import { type Test, test } from 'tap'
import { type Answer, ask, digestOf, imageOf, imageType, until } from '../src/support.ts'
import { plainPool, startAgent } from './agent.ts'
import { namespace, pathOf } from './content.ts'
import type { Replica } from './replicas.ts'
import { MIB, startCluster } from './scene.ts'

const octets = { 'content-type': 'application/octet-stream' }
const name = 'system/deckhouse/pushed'
const uploads = `/v2/${name}/blobs/uploads/?ns=${encodeURIComponent(namespace)}`

/** The path of an upload session as the client is to use it next. */
function locationOf({ headers }: Answer): string {
  const { pathname, search } = new URL(headers.location ?? '', 'http://agent')
  return pathname + search
}

function withDigest(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
}

/** Which of the replicas has a blob. */
async function holders(replicas: readonly Replica[], digest: string): Promise<string[]> {
  const asked = replicas.map(async ({ host, address }) => ({
    host,
    status: (await ask(address, 'HEAD', `/v2/${name}/blobs/${digest}`)).status
  }))
  return (await Promise.all(asked)).filter(({ status }) => status === 200).map(({ host }) => host)
}

async function startScene(t: Test) {
  const { replicas } = await startCluster(t, 4096)
  const agent = await startAgent(t, { pools: [plainPool(replicas)] })
  return { replicas, agent }
}

test('a chunked push stays with the replica where it began, through a restart of that replica', async t => {
  const { replicas, agent } = await startScene(t)
  const bytes = randomBytes(3 * MIB)
  const digest = digestOf(bytes)
  const started = await ask(agent.address, 'POST', uploads)
  t.equal(started.status, 202)
  let location = locationOf(started)
  t.match(started.headers.location, /^(\/v2\/|https?:\/\/127\.0\.0\.1:)/, 'the client is led to the agent')
  const first = await ask(agent.address, 'PATCH', location, {
    headers: { ...octets, 'content-range': `0-${MIB - 1}` },
    body: bytes.subarray(0, MIB)
  })
  t.equal(first.status, 202)
  location = locationOf(first)

  await replicas[0].stop()
  const during = await ask(agent.address, 'GET', location)
  t.equal(during.status, 503, 'while it is away the client is told to come again, not that the session is gone')
  t.match(during.headers['retry-after'], /^\d+$/)
  await replicas[0].start()
  let progress = during
  await until(async () => {
    progress = await ask(agent.address, 'GET', location)
    return progress.status === 204
  })
  t.equal(progress.headers.range, `0-${MIB - 1}`)
  const second = await ask(agent.address, 'PATCH', locationOf(progress), {
    headers: { ...octets, 'content-range': `${MIB}-${2 * MIB - 1}` },
    body: bytes.subarray(MIB, 2 * MIB)
  })
  t.equal(second.status, 202)
  const put = await ask(agent.address, 'PUT', withDigest(locationOf(second), digest), { headers: octets, body: bytes.subarray(2 * MIB) })
  t.equal(put.status, 201, put.body.toString())
  t.same(await holders(replicas, digest), [replicas[0].host])
  t.equal(digestOf((await ask(agent.address, 'GET', `/v2/${name}/blobs/${digest}?ns=${namespace}`)).body), digest)
})

test('sessions that began at different replicas go on beside each other, also when the pools have changed', async t => {
  const { replicas, agent } = await startScene(t)
  const pushes: { bytes: Buffer; location: string }[] = []
  for (const replica of replicas) {
    const bytes = randomBytes(100_000)
    // The first that is there takes it.
    const away = replicas.slice(0, replicas.indexOf(replica))
    for (const each of away) await each.stop()
    let started = await ask(agent.address, 'POST', uploads)
    await until(async () => {
      if (started.status !== 202) started = await ask(agent.address, 'POST', uploads)
      return started.status === 202
    })
    pushes.push({ bytes, location: locationOf(started) })
    for (const each of away) await each.start()
  }
  await agent.change([plainPool([replicas[1], replicas[2]])])
  const answers = await Promise.all(
    pushes.map(({ bytes, location }) => ask(agent.address, 'PUT', withDigest(location, digestOf(bytes)), { headers: octets, body: bytes }))
  )
  t.same(
    answers.map(({ status }) => status),
    [201, 201, 201]
  )
})

test('an image is pushed through it, and a push that no replica can take is a 503', async t => {
  const { replicas, agent } = await startScene(t)
  const config = randomBytes(500)
  const put = await ask(agent.address, 'POST', `${uploads}&digest=${digestOf(config)}`, { headers: octets, body: config })
  t.equal(put.status, 201, put.body.toString())
  const manifest = imageOf([config])
  const path = `/v2/${name}/manifests/v2?ns=${namespace}`
  const tagged = await ask(agent.address, 'PUT', path, { headers: { 'content-type': imageType }, body: manifest })
  t.equal(tagged.status, 201, tagged.body.toString())
  t.equal((await ask(agent.address, 'GET', path)).body.toString(), manifest)
  await Promise.all(replicas.map(each => each.kill()))
  const refused = await ask(agent.address, 'POST', uploads)
  t.equal(refused.status, 503)
  t.match(refused.headers['retry-after'], /^\d+$/)
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'v1'))).status, 503)
})
