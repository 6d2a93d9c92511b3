// One client, or one replica, must not slow the others: 2,000 connections, clients that never read, guessed passwords,
// replicas that are all down.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { users } from '../e2e/htpasswd.ts'
import { pull } from '../modes/client.ts'
import { ask, codeOf, digestOf, folder, until } from '../src/support.ts'
import { plainPool, startAgent } from './agent.ts'
import { pathOf } from './content.ts'
import { usersSection } from './replicas.ts'
import { MIB, startCluster } from './scene.ts'

const mostBytes = 256 * MIB

async function peakOf(pid: number): Promise<number> {
  return Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

/** A connection that sends `text` and reads nothing. */
async function mute(t: Test, address: string, text: string) {
  const [host = '', port] = address.split(':')
  const socket = connect({ host, port: Number(port) })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.pause()
  socket.write(text)
  return socket
}

test('2,000 connections, and 64 clients that never read: pulls beside them are right, and memory is bounded', async t => {
  const { image, replicas } = await startCluster(t, 16 * MIB)
  const agent = await startAgent(t, { pools: [plainPool(replicas)] })
  const path = pathOf('blobs', image.large.digest)
  const idle = await Promise.all(Array.from({ length: 2_000 }, () => mute(t, agent.address, '')))
  const request = `GET ${path} HTTP/1.1\r\nHost: agent\r\n\r\n`
  await Promise.all(Array.from({ length: 64 }, () => mute(t, agent.address, request)))
  for (let round = 0; round < 8; round++) {
    const pulled = await pull(agent.address, path)
    t.strictSame([pulled.status, pulled.complete, pulled.digest], [200, true, image.large.digest])
    t.equal((await ask(agent.address, 'GET', pathOf('manifests', 'v1'))).status, 200)
  }
  const bytes = await peakOf(agent.pid)
  t.comment(`${Math.round(bytes / MIB)} MiB at most`)
  t.ok(bytes < mostBytes, `${Math.round(bytes / MIB)} MiB at most`)
  t.equal((await ask(agent.admin, 'GET', '/livez')).status, 200)
  for (const each of idle) each.destroy()
})

test('clients have a password: a wrong one is a 401 with a challenge and reaches no replica', async t => {
  const { replicas, image } = await startCluster(t, 4096)
  const place = folder(t)
  writeFileSync(join(place, 'password'), 'of-this-node-alone\n')
  const clients = { username: 'node', passwordFile: join(place, 'password') }
  const agent = await startAgent(t, { pools: [plainPool(replicas)], more: { clients } })
  const paths = ['/v2/', pathOf('manifests', 'v1'), pathOf('blobs', image.large.digest)]
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
  for (const [what, headers] of Object.entries({
    none: {},
    'a wrong password': basic('node:of-another-node'),
    'a prefix of it': basic('node:of-this-node'),
    'an empty one': basic('node:'),
    'another user': basic('root:of-this-node-alone'),
    'no colon': basic('node'),
    'what is no base64': { authorization: 'Basic :::' },
    'a bearer token': { authorization: 'Bearer of-this-node-alone' }
  })) {
    for (const path of paths) {
      const answer = await ask(agent.address, 'GET', path, { headers })
      t.equal(answer.status, 401, `${what}: ${path}`)
      t.match(answer.headers['www-authenticate'], /^Basic realm="/, what)
      t.equal(codeOf(answer), 'UNAUTHORIZED', what)
    }
    const pushed = await ask(agent.address, 'POST', '/v2/a/blobs/uploads/', { headers })
    t.equal(pushed.status, 401, what)
  }
  for (const path of paths)
    t.equal((await ask(agent.address, 'GET', path, { headers: basic('node:of-this-node-alone') })).status, 200, path)
  t.notMatch(agent.log(), /of-this-node-alone|of-another-node/, 'no password in the log')

  writeFileSync(join(place, 'password'), 'rotated')
  process.kill(agent.pid, 'SIGHUP')
  await until(async () => (await ask(agent.address, 'GET', '/v2/', { headers: basic('node:rotated') })).status === 200)
})

test('all replicas down: each request is a 503 at once, the process is alive and not ready, and it heals by itself', async t => {
  const { replicas, image } = await startCluster(t, MIB)
  const agent = await startAgent(t, { pools: [plainPool(replicas)] })
  t.equal((await ask(agent.admin, 'GET', '/readyz')).status, 200)
  await Promise.all(replicas.map(each => each.kill()))
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask(agent.address, 'GET', pathOf('manifests', 'v1'))))
  t.same(new Set(answers.map(({ status }) => status)), new Set([503]))
  t.equal((await ask(agent.admin, 'GET', '/livez')).status, 200)
  await until(async () => (await ask(agent.admin, 'GET', '/readyz')).status === 503)
  await Promise.all(replicas.map(each => each.start()))
  await until(async () => (await ask(agent.admin, 'GET', '/readyz')).status === 200)
  const { body } = await ask(agent.address, 'GET', pathOf('blobs', image.large.digest))
  t.equal(digestOf(body), image.large.digest)
})

test('replicas that know users: the agent is one, and what it knows is not told', async t => {
  const place = folder(t)
  const file = join(place, 'password')
  writeFileSync(file, users.ro.password)
  const { replicas } = await startCluster(t, 4096, { sections: { auth: await usersSection(place) } })
  const agent = await startAgent(t, { pools: [{ ...plainPool(replicas), username: 'ro', passwordFile: file }] })
  const answer = await ask(agent.address, 'GET', pathOf('manifests', 'v1'))
  t.equal(answer.status, 200)
  for (const told of [JSON.stringify(answer.headers), agent.log(), JSON.stringify(await agent.status()), await agent.metrics()])
    t.notMatch(told, users.ro.password)
})
