// A mode is switched on a node by other pools in the agent's file, under pulls. A file that is wrong, or half of one,
// changes nothing.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { pull } from '../modes/client.ts'
import { ask } from '../src/support.ts'
import { type Agent, plainPool, startAgent } from './agent.ts'
import { type Image, pathOf } from './content.ts'
import { startLoop } from './loop.ts'
import { startReplicas } from './replicas.ts'
import { MIB, scenePlace, startCluster } from './scene.ts'

/** Pulls an image once, and says what went wrong. */
async function pullImage({ address }: Agent, { blobs }: Image): Promise<string[]> {
  const failures: string[] = []
  const manifest = await ask(address, 'GET', pathOf('manifests', 'v1'))
  if (manifest.status !== 200) failures.push(`manifest: ${manifest.status} ${manifest.body}`)
  for (const digest of blobs) {
    const pulled = await pull(address, pathOf('blobs', digest))
    if (pulled.digest !== digest || !pulled.complete) failures.push(`${digest}: ${pulled.status}, ${pulled.bytes} bytes`)
  }
  return failures
}

test('pools are switched by reload under a loop of pulls: none fails', async t => {
  const cluster = await startCluster(t, 4 * MIB)
  const [first, second, third] = cluster.replicas
  const agent = await startAgent(t, { pools: [plainPool([first])] })
  const pulling = startLoop(t, () => pullImage(agent, cluster.image), 3)
  const turns = [
    [plainPool([first]), plainPool([second, third])],
    [plainPool([second, third])],
    [plainPool([third]), plainPool([first])],
    [plainPool([first])]
  ]
  for (let turn = 0; turn < 12; turn++) {
    const last = await agent.change(turns[turn % turns.length] ?? [])
    t.equal(last.result, 'applied', JSON.stringify(last))
    await pulling.turns(4)
  }
  const { count, failures } = await pulling.stop()
  t.same(failures, [])
  t.comment(`${count} pulls through 12 changes of the pools`)
})

test('pools in order: what the first has not comes from the second, and a dead first one costs nothing but its connect', async t => {
  const folder = await scenePlace(t)
  const { image, replicas } = await startCluster(t, MIB)
  const [empty] = await startReplicas(t, { folder })
  const agent = await startAgent(t, { pools: [plainPool([empty]), plainPool([replicas[0]])] })
  for (const path of [pathOf('manifests', 'v1'), ...image.blobs.map(digest => pathOf('blobs', digest))])
    t.equal((await ask(agent.address, 'GET', path)).status, 200, path)
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'absent'))).status, 404)
  await empty.kill()
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'v1'))).status, 200)
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'absent'))).status, 503, 'the first pool may have it')
})

/** A wrong change, which leaves everything as it was. */
async function refuses(t: Test, agent: Agent, what: string, change: () => Promise<{ result: string }>): Promise<void> {
  const last = await change()
  t.not(last.result, 'applied', `${what}: ${JSON.stringify(last)}`)
  t.match(JSON.stringify(last), /\w{3,} .*\w/, `${what}: it says what is wrong`)
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'v1'))).status, 200, `${what}: pulls go on`)
  t.equal((await ask(agent.admin, 'GET', '/readyz')).status, 200, `${what}: it is ready`)
}

test('a wrong file is refused in words, and the pools before it serve on', async t => {
  const { replicas } = await startCluster(t, 4096)
  const pool = plainPool(replicas)
  const agent = await startAgent(t, { pools: [pool] })
  const right = readFileSync(agent.file, 'utf8')
  const [first] = pool.replicas
  await refuses(t, agent, 'an empty file', () => agent.write(''))
  await refuses(t, agent, 'a half-written file', () => agent.write(right.slice(0, right.length / 2)))
  await refuses(t, agent, 'no replicas', () => agent.change([{ ...pool, replicas: [] }]))
  await refuses(t, agent, 'no pools', () => agent.change([]))
  await refuses(t, agent, 'a replica twice', () => agent.change([{ ...pool, replicas: [first, first] }]))
  await refuses(t, agent, 'a replica that is the agent itself', () => agent.change([{ ...pool, replicas: [{ address: agent.address }] }]))
  await refuses(t, agent, 'a replica without a host', () => agent.change([{ ...pool, replicas: [{ address: ':5001' }] }]))
  await refuses(t, agent, 'a replica that is a URL', () => agent.change([{ ...pool, replicas: [{ address: 'http://127.0.0.11:5001' }] }]))
  await refuses(t, agent, 'an unknown setting', () => agent.change([{ ...pool, replica: [] }]))
  await refuses(t, agent, 'a CA file that is not there', () =>
    agent.change([{ ...pool, scheme: 'HTTPS', caFile: join(agent.file, '../absent.crt') }])
  )
  t.equal((await agent.write(right)).result, 'unchanged')
  for (const line of agent.log().split('\n')) t.notMatch(line, /^\s+at /, 'no stack in the log')
})

test('started over a half-written file it serves by the last good one, and says so', async t => {
  const { replicas } = await startCluster(t, 4096)
  const agent = await startAgent(t, { pools: [plainPool(replicas)] })
  t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'v1'))).status, 200)
  await agent.stop()
  const right = readFileSync(agent.file, 'utf8')
  writeFileSync(agent.file, right.slice(0, right.length - 40))
  const again = await agent.again(t)
  t.equal((await ask(again.address, 'GET', pathOf('manifests', 'v1'))).status, 200)
  t.match(again.log(), /last good/i)
  writeFileSync(agent.file, right)
})
