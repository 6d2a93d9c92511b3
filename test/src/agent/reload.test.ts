import { randomBytes } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { ask, folder, until } from '../support.ts'
import { poolOf, routed, routeName, serveAgent, startOver } from './scene.ts'

// The configuration is written by a machine while containerd pulls: half-written, wrong, or gone.

const name = 'system/deckhouse/app'
const path = `/v2/${name}/manifests/v1?ns=${routeName}`

test('routes change while requests run: those that run end where they began, the others go to the new pool', async t => {
  const [old, next] = [await startUpstream(t), await startUpstream(t)]
  const bytes = randomBytes(300_000)
  const digest = old.addBlob(name, bytes)
  next.addImage(name, 'v1')
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  old.faults.hold = { at: 100_000, until: held }
  const agent = await serveAgent(t, routed(poolOf(old)))
  const running = ask(agent.listen, 'GET', `/v2/${name}/blobs/${digest}?ns=${routeName}`)
  await until(() => old.requests.some(each => each.bytes >= 100_000))
  t.same(await agent.change(routed(poolOf(next))).then(({ result, changed }) => ({ result, changed })), {
    result: 'applied',
    changed: ['agent.routes']
  })
  t.equal((await ask(agent.listen, 'GET', path)).status, 200)
  release()
  t.ok((await running).body.equals(bytes))
})

test('a pool that stays the same keeps what is known of its replicas', async t => {
  const [replica, next] = [await startUpstream(t), await startUpstream(t)]
  replica.faults.statuses = [{ status: 500 }]
  const agent = await serveAgent(t, routed(poolOf(replica)))
  t.equal((await ask(agent.listen, 'GET', path)).status, 503)
  await agent.change(routed(poolOf(replica), poolOf(next)))
  t.match(await agent.status(), {
    routes: { [routeName]: [{ replicas: [{ lastError: { message: /answered 500/ } }] }, { replicas: [{ healthy: true }] }] }
  })
})

test('a file that is half-written, wrong or gone changes nothing, and one line says why', async t => {
  const replica = await startUpstream(t)
  replica.addImage(name, 'v1')
  const agent = await serveAgent(t, routed(poolOf(replica)))
  const good = readFileSync(agent.file, 'utf8')
  for (const text of ['', good.slice(0, good.length / 2), 'agent: { routes: [] }', 'agent: [', good.replace('replicas', 'replicsa')]) {
    const before = agent.lines.length
    t.equal((await agent.write(text)).result, 'faulty')
    t.equal((await agent.write(text)).result, 'faulty')
    t.equal(agent.lines.length, before + 1, 'one line for one fault')
    t.equal((await ask(agent.listen, 'GET', path)).status, 200)
  }
  t.equal((await agent.write(good)).result, 'unchanged')
  t.equal((await agent.change({ ...routed(poolOf(replica)), connections: 7 })).result, 'refused', 'what needs a restart')
})

test('an agent that starts with a broken file serves by the last good configuration, passwords included', async t => {
  const replica = await startUpstream(t, { auth: { scheme: 'basic', username: 'ro', password: 'secret' } as never })
  replica.addImage(name, 'v1')
  const place = folder(t)
  writeFileSync(join(place, 'password'), 'node-secret\n')
  const clients = { username: 'node', passwordFile: 'password' }
  const first = await serveAgent(t, { ...routed(poolOf(replica)), clients }, place)
  await first.stop()
  const kept = `${first.file}.last-good`
  t.equal(statSync(kept).mode & 0o777, 0o600)
  writeFileSync(join(place, 'password'), '')
  writeFileSync(first.file, 'agent: { rou')
  const second = await startOver(t, first.file)
  t.match(second.logged('the configuration cannot be used; the last good one is in force'), [{ file: first.file, reason: /agent\.yaml/ }])
  const headers = { authorization: `Basic ${Buffer.from('node:node-secret').toString('base64')}` }
  t.equal((await ask(second.listen, 'GET', '/v2/', { headers })).status, 200)
  t.equal((await second.reload()).result, 'faulty', 'the file is still looked at')
})

test('without a last good configuration a broken file is what the start fails with', async t => {
  const file = join(folder(t), 'agent.yaml')
  writeFileSync(file, 'agent: { routes: [] }')
  await t.rejects(startOver(t, file), { name: 'ConfigError', message: /agent\.routes: expected a list of at least one route/ })
})

test('where the last good configuration cannot be kept the agent serves all the same, and says so', async t => {
  const replica = await startUpstream(t)
  const { file } = await serveAgent(t, routed(poolOf(replica)))
  const agent = await startOver(t, file, join(file, 'below-a-file'))
  t.equal((await ask(agent.listen, 'GET', '/v2/')).status, 200)
  t.equal(agent.logged('the configuration in force cannot be kept for the next start: --last-good names another place').length, 1)
})

test('the admin port: alive, ready while each route has a healthy registry, with metrics and the health of replicas', async t => {
  const replica = await startUpstream(t)
  const agent = await serveAgent(t, routed(poolOf(replica)))
  const get = async (asked: string) => {
    const answer = await fetch(`http://${agent.admin}${asked}`)
    return { status: answer.status, text: await answer.text() }
  }
  t.equal((await get('/livez')).status, 200)
  t.equal((await get('/readyz')).status, 200)
  t.equal((await get('/readyz/write')).status, 404)
  await replica.stop()
  await ask(agent.listen, 'GET', path)
  t.equal((await get('/livez')).status, 200)
  t.match(await get('/readyz'), { status: 503, text: `no registry of the route for ${routeName} answers` })
  t.match((await get('/metrics')).text, `registry_replica_healthy{endpoint="${new URL(replica.url).host}"} 0`)
  t.notMatch((await get('/metrics')).text, /registry_(storage|fills|gc|scrub)/)
  await replica.start()
  await until(async () => (await get('/readyz')).status === 200)
})
