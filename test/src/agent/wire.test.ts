import { connect } from 'node:net'
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { ask, bytesOf, until } from '../support.ts'
import { poolOf, routed, serveAgent } from './scene.ts'

// What is no request, or never ends, is answered or bounded, and keeps no client from being served.

/** Writes bytes to a port and reads to the end. */
function exchange(listen: string, text: string): Promise<string> {
  const [host, port] = listen.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => socket.write(text))
    let answer = ''
    socket.on('data', data => {
      answer += data
    })
    socket.on('end', () => resolve(answer))
    socket.on('error', reject)
  })
}

test('bytes that are no HTTP, a path of no endpoint and a method of none are answered in the form of the spec', async t => {
  const replica = await startUpstream(t)
  const agent = await serveAgent(t, routed(poolOf(replica)))
  t.match(await exchange(agent.listen, '\u0016\u0003\u0001\r\n\r\n'), /^HTTP\/1\.1 40[05] [\s\S]*"code":"UNSUPPORTED"/)
  t.match(await exchange(agent.listen, `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /)
  t.equal((await ask(agent.listen, 'GET', '/v1/')).status, 404)
  t.equal((await ask(agent.listen, 'GET', '/v2/%zz/tags/list')).status, 400)
  t.equal((await ask(agent.listen, 'TRACE', '/v2/')).status, 405)
  t.equal(replica.count('/v2/'), 0)
})

test('more connections than agent.connections close the idle ones, and a new request is served', async t => {
  const replica = await startUpstream(t)
  const image = replica.addImage('a/b', 'v1')
  const agent = await serveAgent(t, { ...routed(poolOf(replica)), connections: 20 })
  const [host, port] = agent.listen.split(':')
  const sockets = Array.from({ length: 60 }, () => connect(Number(port), host))
  let closed = 0
  for (const each of sockets) {
    each.on('error', () => {})
    each.on('close', () => closed++)
  }
  t.teardown(() => sockets.map(each => each.destroy()))
  await until(() => closed >= 40)
  // Those that were opened within a second are left alone, and a new one is refused.
  const pull = () => ask(agent.listen, 'GET', `/v2/a/b/manifests/${image.digest}`).catch(() => undefined)
  await until(async () => (await pull())?.status === 200)
  const told = agent.lines.filter(line => /agent\.connections is reached/.test(line.msg))
  t.ok(told.length > 0 && told.length < 10, 'a few lines tell of all')
})

test('a client that never reads keeps no other from its pull', async t => {
  const replica = await startUpstream(t)
  const bytes = bytesOf(8 * 1024 * 1024)
  const digest = replica.addBlob('a/b', bytes)
  const agent = await serveAgent(t, routed(poolOf(replica)))
  const [host, port] = agent.listen.split(':')
  const lazy = Array.from({ length: 8 }, () => {
    const socket = connect(Number(port), host, () => socket.write(`GET /v2/a/b/blobs/${digest} HTTP/1.1\r\nhost: a\r\n\r\n`))
    socket.on('error', () => {})
    return socket.pause()
  })
  t.teardown(() => lazy.map(each => each.destroy()))
  await until(() => replica.count(digest) >= 8)
  t.ok((await ask(agent.listen, 'GET', `/v2/a/b/blobs/${digest}`)).body.equals(bytes))
})
