// A body that breaks in the middle is the node's problem behind a balancer of connections: containerd begins again at its
// first mirror, and gives the whole layer up where a part of it breaks. Here it goes on from another replica within the
// response that began.
import { test } from 'tap'
import { pull, pullRaw } from '../modes/client.ts'
import { ask, digestOf, until } from '../src/support.ts'
import { plainPool, startAgent } from './agent.ts'
import { pathOf } from './content.ts'
import { MIB, startCluster, startFronts } from './scene.ts'

const size = 24 * MIB
/** So slow that a body is under way while something happens to its replica. */
const slow = { sections: { limits: { egress: '16MiB' } } }

test('a body breaks', async t => {
  const cluster = await startCluster(t, size)
  const path = pathOf('blobs', cluster.image.large.digest)

  for (const end of ['fin', 'reset', 'silence'] as const) {
    await t.test(`${end} at one replica after another: one response, and the bytes are right`, async t => {
      const fronts = await startFronts(t, cluster)
      const agent = await startAgent(t, { pools: [plainPool(fronts)] })
      fronts[0].faults = [{ when: ({ path }) => path.includes('/blobs/'), after: { bytes: 5_000_000, end } }]
      fronts[1].faults = [{ when: ({ path }) => path.includes('/blobs/'), after: { bytes: 3_000_001, end } }]
      const pulled = await pull(agent.address, path)
      t.strictSame([pulled.status, pulled.complete, pulled.digest], [200, true, cluster.image.large.digest])
      t.equal(pulled.headers['content-length'], `${cluster.image.large.size}`)
    })
  }

  await t.test('every replica breaks for good: it ends short by FIN, and the next pull is right', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    const blobs = ({ path }: { path: string }) => path.includes('/blobs/')
    for (const front of fronts) {
      front.faults = [
        { when: blobs, times: 1, after: { bytes: 1_000_000, end: 'fin' } },
        { when: blobs, answer: { status: 500 } }
      ]
    }
    const { head, bytes, end } = await pullRaw(agent.address, path)
    t.match(head, /^HTTP\/1.1 200/)
    t.ok(bytes < cluster.image.large.size, `${bytes} bytes`)
    t.equal(end, 'fin')
    for (const front of fronts) front.faults = []
    // Health comes back by probes.
    await until(async () => (await pull(agent.address, path)).digest === cluster.image.large.digest)
  })

  await t.test('a wrong byte never ends a response as if it were right', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    for (const front of fronts) front.faults = [{ when: ({ path }) => path.includes('/blobs/'), wrongByte: 9_000_000 }]
    const { bytes, end } = await pullRaw(agent.address, path)
    t.ok(bytes < cluster.image.large.size, `${bytes} bytes`)
    t.equal(end, 'fin')
    for (const front of fronts) front.faults = []
    await until(async () => (await pull(agent.address, path)).digest === cluster.image.large.digest)
  })

  await t.test('a wrong byte of one replica: a later pull is right while that replica stays as it is', async t => {
    const fronts = await startFronts(t, cluster)
    const agent = await startAgent(t, { pools: [plainPool(fronts)] })
    fronts[0].faults = [{ when: ({ path }) => path.includes('/blobs/'), wrongByte: 9_000_000 }]
    const outcomes: boolean[] = []
    await until(async () => {
      const { complete, digest } = await pull(agent.address, path)
      // Complete and wrong is what must not be.
      outcomes.push(!complete || digest === cluster.image.large.digest)
      return complete || outcomes.length >= 5
    })
    t.same(
      outcomes.filter(each => !each),
      []
    )
    t.equal((await pull(agent.address, path)).digest, cluster.image.large.digest)
  })
})

test('eight ranges at once through a replica that dies: each is finished by itself', async t => {
  const cluster = await startCluster(t, size, slow)
  const { digest, size: all } = cluster.image.large
  const path = pathOf('blobs', digest)
  const agent = await startAgent(t, { pools: [plainPool(cluster.replicas)] })
  const part = Math.ceil(all / 8)
  let begun = 0
  const everyBegun = Promise.withResolvers<void>()
  const ranges = Array.from({ length: 8 }, async (_, at) => {
    const range = `bytes=${at * part}-${Math.min(all, (at + 1) * part) - 1}`
    const onHead = () => {
      if (++begun === 8) everyBegun.resolve()
    }
    return await pull(agent.address, path, { headers: { range }, onHead })
  })
  await everyBegun.promise
  await cluster.replicas[0].kill()
  const pulled = await Promise.all(ranges)
  const whole = (await ask(cluster.replicas[1].address, 'GET', path)).body
  t.same(
    pulled.map(each => [each.status, each.complete, each.digest]),
    pulled.map((_, at) => [206, true, digestOf(whole.subarray(at * part, (at + 1) * part))])
  )
})
