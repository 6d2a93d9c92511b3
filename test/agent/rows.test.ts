// What a replica may do to a pull, and what containerd makes of it (its table of errors per mirror): behind a balancer
// of connections each of these is a failed pull, or one that waits. The node's own replica is the one that misbehaves.
import { readFileSync } from 'node:fs'
import { type Test, test } from 'tap'
import { blobPath } from '../../bench/content.ts'
import { ask, codeOf } from '../src/support.ts'
import { type Agent, plainPool, startAgent } from './agent.ts'
import { pathOf, repository } from './content.ts'
import type { Fault, Front } from './front.ts'
import { type Cluster, faultsOf, MIB, pullRequests, startCluster, startFronts } from './scene.ts'

interface Row {
  title: string
  fault: Fault | 'refused'
  /** Statuses that a node may see when each replica does it. */
  byAll?: readonly number[]
}

const wrongDigest = `sha256:${'0'.repeat(64)}`
const page = '<!doctype html><title>Maintenance</title><p>We will be back soon.</p>'
const html = { 'content-type': 'text/html', 'content-length': `${page.length}` }
const unavailable = [503]

// Where each replica refuses the agent, a node is told so, with the reason: no retry would help.
const byAll: Readonly<Record<number, readonly number[]>> = { 401: [403], 403: [403], 404: [404] }
const statuses = [401, 403, 404, 405, 408, 429, 500, 502, 503, 504].map(
  (status): Row => ({ title: `answers ${status}`, fault: { answer: { status } }, byAll: byAll[status] ?? [502, 503] })
)

const rows: readonly Row[] = [
  { title: 'refuses connections', fault: 'refused', byAll: unavailable },
  { title: 'ends connections before an answer', fault: { before: 'fin' }, byAll: unavailable },
  { title: 'resets connections', fault: { before: 'reset' }, byAll: unavailable },
  { title: 'takes a request and is silent', fault: { before: 'silence' }, byAll: unavailable },
  { title: 'sends a head without end', fault: { before: 'endless head' }, byAll: [502, 503] },
  ...statuses,
  { title: 'answers a page of HTML with 200', fault: { answer: { status: 200, headers: html, body: page } }, byAll: [502, 503] },
  { title: 'answers a page of HTML with 503', fault: { answer: { status: 503, headers: html, body: page } }, byAll: [502, 503] },
  { title: 'redirects without a target', fault: { answer: { status: 302 } }, byAll: [502, 503] },
  {
    title: 'redirects to where it cannot be followed',
    fault: { answer: { status: 307, headers: { location: 'http://192.0.2.1:1/x' } } },
    byAll: [502, 503]
  },
  {
    // The digest of a tag is what a HEAD is about: nothing tells that it is wrong.
    title: 'declares another digest',
    fault: { when: ({ method, path }) => method === 'GET' || !path.includes('/v1?'), headers: { 'docker-content-digest': wrongDigest } }
  },
  { title: 'declares what is no digest', fault: { headers: { 'docker-content-digest': 'latest' } } },
  {
    title: 'answers HEAD without digest and length',
    fault: { when: ({ method }) => method === 'HEAD', answer: { status: 200, headers: { 'transfer-encoding': 'chunked' } } }
  },
  { title: 'answers HEAD and not GET', fault: { when: ({ method }) => method === 'GET', answer: { status: 500 } } },
  { title: 'breaks the body by FIN', fault: { after: { bytes: 100, end: 'fin' } } },
  { title: 'breaks the body by a reset', fault: { after: { bytes: 100, end: 'reset' } } },
  { title: 'ends the body at once', fault: { after: { bytes: 0, end: 'fin' } } },
  { title: 'is silent after the head', fault: { after: { bytes: 0, end: 'silence' } } },
  { title: 'is silent in the middle of a body', fault: { after: { bytes: 150_000, end: 'silence' } } },
  { title: 'breaks large bodies in the middle', fault: { after: { bytes: 1_500_000, end: 'fin' } } }
]

async function misbehave(front: Front, fault: Fault | 'refused'): Promise<void> {
  if (fault === 'refused') await front.close()
  else front.faults = [fault]
}

test('a replica misbehaves', async t => {
  const cluster = await startCluster(t, 2 * MIB)
  for (const row of rows) {
    const all = row.byAll === undefined ? '' : `; where all do, a node sees ${row.byAll.join(' or ')}, and never a reset`
    await t.test(`it ${row.title}: each request of a pull is answered by another replica${all}`, async t => {
      const fronts = await startFronts(t, cluster)
      const agent = await startAgent(t, { pools: [plainPool(fronts)] })
      await oneOfThree(t, { cluster, fronts, agent, row })
      if (row.byAll !== undefined) await allThree(t, { cluster, fronts, agent, row })
    })
  }
})

interface Scene {
  cluster: Cluster
  fronts: readonly [Front, Front, Front]
  agent: Agent
  row: Row
}

async function oneOfThree(t: Test, { cluster, fronts, agent, row }: Scene): Promise<void> {
  const bytesOf = (digest: string) => readFileSync(blobPath(cluster.replicas[0].root, digest))
  await misbehave(fronts[0], row.fault)
  for (const request of pullRequests(cluster.image)) t.same(await faultsOf(agent.address, request, bytesOf), [])
}

async function allThree(t: Test, { cluster, fronts, agent, row: { fault, byAll = [] } }: Scene): Promise<void> {
  for (const front of fronts.slice(1)) await misbehave(front, fault)
  for (const { method, path, title, headers = {} } of pullRequests(cluster.image)) {
    const answer = await ask(agent.address, method, path, { headers })
    t.ok(byAll.includes(answer.status), `${title}: ${answer.status} ${answer.body.subarray(0, 300)}`)
    if (answer.status === 503) t.match(answer.headers['retry-after'], /^\d+$/, `${title}: Retry-After`)
    if (method === 'GET') t.match(codeOf(answer), /^[A-Z_]+$/, `${title}: an error of the distribution-spec`)
  }
}

test('404 only when each replica said so', async t => {
  const cluster = await startCluster(t, MIB)
  const absent = `sha256:${'a'.repeat(64)}`
  const paths = [pathOf('manifests', 'absent'), pathOf('manifests', absent), pathOf('blobs', absent)]

  await t.test('three that have it not: 404', async t => {
    const agent = await startAgent(t, { pools: [plainPool(await startFronts(t, cluster))] })
    for (const path of paths) {
      const answer = await ask(agent.address, 'GET', path)
      t.equal(answer.status, 404, path)
      t.match(codeOf(answer), /_UNKNOWN$/)
      t.equal((await ask(agent.address, 'HEAD', path)).status, 404, path)
    }
  })

  for (const [title, fault] of [
    ['refuses connections', 'refused'],
    ['is silent', { before: 'silence' }],
    ['answers 500', { answer: { status: 500 } }],
    ['answers a page of HTML', { answer: { status: 200, headers: html, body: page } }]
  ] as const satisfies [string, Fault | 'refused'][]) {
    await t.test(`two have it not and the third ${title}: 503 with Retry-After`, async t => {
      const fronts = await startFronts(t, cluster)
      const agent = await startAgent(t, { pools: [plainPool(fronts)] })
      await misbehave(fronts[2], fault)
      // Twice, since the third is known to be unhealthy by then.
      for (const path of [...paths, ...paths]) {
        const answer = await ask(agent.address, 'GET', path)
        t.equal(answer.status, 503, path)
        t.match(answer.headers['retry-after'], /^\d+$/)
        t.equal((await ask(agent.address, 'HEAD', path)).status, 503, path)
      }
    })
  }

  await t.test('two have it not and the third refuses the agent: never 404', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    await misbehave(fronts[2], { answer: { status: 401 } })
    for (const path of paths) t.ok([403, 503].includes((await ask(agent.address, 'GET', path)).status), path)
  })

  await t.test('only the last has it: 200', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    for (const front of fronts.slice(0, 2)) front.faults = [{ answer: { status: 404 } }]
    for (const path of [
      pathOf('manifests', 'v1'),
      pathOf('manifests', cluster.image.manifest.digest),
      pathOf('blobs', cluster.image.large.digest)
    ])
      t.equal((await ask(agent.address, 'GET', path)).status, 200, path)
  })

  await t.test('a name that no route has: an answer of one line and no request to a replica', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    await ask(agent.address, 'GET', pathOf('manifests', 'v1'))
    const before = fronts.map(({ seen }) => seen.filter(({ path }) => path.includes('manifests')).length)
    const answer = await ask(agent.address, 'GET', `/v2/${repository}/manifests/v1?ns=docker.io`)
    t.ok(answer.status >= 400 && answer.status < 500, `${answer.status}`)
    t.same(
      fronts.map(({ seen }) => seen.filter(({ path }) => path.includes('manifests')).length),
      before
    )
  })
})
