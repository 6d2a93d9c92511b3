import { test } from 'tap'
import { Clients } from '../../../src/agent/clients.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { startUpstream } from '../../support/upstream.ts'
import { ask } from '../support.ts'
import { poolOf, routed, serveAgent } from './scene.ts'

// Every process of a node reaches the agent: its password is what keeps the images of the cluster from them.

const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
const clients = { username: 'node', password: 'correct horse' }

test('with the password of clients all is served, with any other 401 and a challenge, and replicas are not asked', async t => {
  const replica = await startUpstream(t)
  replica.addImage('a/b', 'v1')
  const agent = await serveAgent(t, { ...routed(poolOf(replica)), clients })
  const path = '/v2/a/b/manifests/v1'
  for (const headers of [
    {},
    basic('node:wrong'),
    basic('other:correct horse'),
    basic('node:correct hors'),
    basic(':'),
    { authorization: 'Bearer x' }
  ]) {
    for (const asked of ['/v2/', path]) {
      const answer = await ask(agent.listen, 'GET', asked, { headers })
      t.equal(answer.status, 401)
      t.match(answer.headers['www-authenticate'], /^Basic realm="registry"/)
    }
  }
  t.equal(replica.count('/v2/'), 0)
  t.equal((await ask(agent.listen, 'GET', '/')).status, 200, 'a probe needs no password')
  for (const asked of ['/v2/', path]) t.equal((await ask(agent.listen, 'GET', asked, { headers: basic('node:correct horse') })).status, 200)
  const [refused, ...more] = agent.logged('a client was refused: it did not send the password of agent.clients')
  t.match(refused, { address: '127.0.0.1', sent: 'none' })
  t.ok(more.length < 6, 'clients cannot fill the log')
  t.notMatch(JSON.stringify(agent.lines), /correct hors|wrong/)
})

test('without a password all clients are served, whatever they send', async t => {
  const replica = await startUpstream(t)
  const agent = await serveAgent(t, routed(poolOf(replica)))
  for (const headers of [{}, basic('node:any'), { authorization: 'garbage' }])
    t.equal((await ask(agent.listen, 'GET', '/v2/', { headers })).status, 200)
})

test('a password that is replaced counts no longer, and the new one at once', t => {
  const rotated = new Clients(clients)
  const verdict = (password: string) => {
    try {
      return rotated.identify(basic(`node:${password}`).authorization).user
    } catch (error) {
      return (error as OciError).code
    }
  }
  t.equal(verdict('correct horse'), 'node')
  rotated.use({ username: 'node', password: 'battery staple' })
  t.same([verdict('correct horse'), verdict('battery staple')], ['UNAUTHORIZED', 'node'])
  t.throws(() => rotated.identify(`Basic ${'A'.repeat(20_000)}`), OciError)
  t.end()
})

test('an agent whose replica leads back to itself answers 508 to itself, and 503 to the client, once', async t => {
  // The settings cannot tell: it listens on a port that was free.
  const replica = await startUpstream(t)
  const agent = await serveAgent(t, routed(poolOf(replica)))
  await agent.change(routed(poolOf({ url: `http://${agent.listen}` })))
  const answer = await ask(agent.listen, 'GET', '/v2/a/b/manifests/v1')
  t.equal(answer.status, 503)
  t.equal(agent.logged('a replica in agent.routes leads back to the agent itself').length, 1)
})
