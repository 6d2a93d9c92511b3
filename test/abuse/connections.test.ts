// The attacks, without credentials: one address opens as many connections as `limits.connections` allows and sends
// nothing, a part of a TLS handshake, a part of a head, or one request now and then, and all others are refused. And a
// client that asks for manifests and lists and never reads them: 50 such connections over TLS held 181 MiB for ever.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Test, test } from 'tap'
import { addressKey } from '../../src/access/login-throttle.ts'
import { Wire } from '../src/api/wire.ts'
import { metric, serve, until } from '../src/support.ts'
import { certificate } from '../support/certificate.ts'
import { openPort } from './attack.ts'

const attacker = '127.0.0.66'

/** A connection from any address of the loopback network. */
async function dialFrom(t: Test, address: string, from: string, sent = ''): Promise<Socket> {
  const [host = '', port] = address.split(':')
  const socket = connect({ host, port: Number(port), localAddress: from })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {}).on('data', () => {})
  await once(socket, 'connect')
  socket.write(sent)
  return socket
}

/** Opens so many connections, one after another. */
async function occupy(t: Test, address: string, count: number, sent = '', from = attacker): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) sockets.push(await dialFrom(t, address, from, sent))
  return sockets
}

/** A request of 64 bytes, so that no head stands in two of the chunks that are read. */
const request = (path = '/v2/'): string => {
  const head = `GET ${path} HTTP/1.1\r\nHost: r\r\nX: `
  return `${head.padEnd(60, 'x')}\r\n\r\n`
}

/** Whether a request on a new connection is answered. */
async function served(t: Test, address: string, from: string): Promise<boolean> {
  const socket = await dialFrom(t, address, from, request())
  const [bytes] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
  socket.destroy()
  return Buffer.isBuffer(bytes) && bytes.includes(' 200 ')
}

for (const [what, sent] of [
  ['nothing', ''],
  ['a part of a head', 'GET /v2/ HTTP/1.1\r\nHost: '],
  ['one request', request()]
] as const) {
  test(`connections: a port full of connections of one address that sent ${what} serves others`, async t => {
    const registry = await serve(t, { limits: { connections: 20 } })
    const held = await occupy(t, registry.listen, 20, sent)
    for (let client = 1; client <= 5; client++) t.ok(await served(t, registry.listen, `127.0.0.${client}`))
    await until(() => held.filter(socket => socket.closed).length > 0)
    t.ok(held[0]?.closed, 'the longest idle one went first')
    t.ok(held.filter(socket => socket.closed).length <= 5)
    t.ok(((await metric(registry, 'registry_connections_closed_total', '{reason="idle"}')) ?? 0) >= 1)
    t.equal(await metric(registry, 'registry_connections_dropped_total'), 0)
    t.match(registry.logged('an idle connection was closed for a new one: limits.connections is reached')[0], { address: attacker })
  })
}

test('connections: over TLS a port full of handshakes that do not go on serves others, also one after another', async t => {
  const { key, cert } = certificate(t)
  const closed: string[] = []
  const onClosed = (address: string, reason: string) => void closed.push(`${address} ${reason}`)
  const { address } = await openPort(t, (_request, response) => void response.end('x'), {
    tls: { key, cert },
    maxConnections: 20,
    onClosed
  })
  await occupy(t, address, 20, '\x16\x03\x01')
  const [host, port] = address.split(':')
  for (let client = 0; client < 5; client++) {
    const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false })
    t.teardown(() => socket.destroy())
    await once(socket, 'secureConnect')
    socket.write(request())
    const [bytes] = await once(socket, 'data')
    t.match(bytes.toString(), /^HTTP\/1.1 200/)
  }
  t.strictSame(closed, Array(5).fill(`${attacker} idle`))
})

test('connections: a request that is under way is never closed for a new connection', async t => {
  const refused: string[] = []
  const door = Promise.withResolvers<void>()
  const port = await openPort(t, async (_request, response) => void (await door.promise.then(() => response.end('x'))), {
    maxConnections: 10,
    onRefused: address => void refused.push(address)
  })
  const busy = await occupy(t, port.address, 10, request('/busy'))
  await until(() => port.server.listenerCount('request') > 0)
  const late = await dialFrom(t, port.address, '127.0.0.1')
  await once(late, 'close')
  t.strictSame(refused, ['127.0.0.1'])
  const answers = busy.map(socket => once(socket, 'data'))
  door.resolve()
  for (const [bytes] of await Promise.all(answers)) t.match(bytes.toString(), /^HTTP\/1.1 200/)
})

test('connections: an address with few idle connections keeps them beside one with many', async t => {
  const registry = await serve(t, { limits: { connections: 40 } })
  const honest = await occupy(t, registry.listen, 5, request(), '127.0.0.2')
  const held = await occupy(t, registry.listen, 35, request())
  for (let client = 0; client < 20; client++) t.ok(await served(t, registry.listen, '127.0.0.3'))
  t.strictSame(
    honest.map(socket => socket.closed),
    Array(5).fill(false)
  )
  t.ok(held.some(socket => socket.closed))
})

test('connections: those through a peer on this machine count for the clients that it speaks for', async t => {
  const closed: string[] = []
  const port = await openPort(t, (_request, response) => void response.end('x'), {
    maxConnections: 20,
    keyOf: addressKey,
    speaksFor: ({ headers }) => headers['x-forwarded-for']?.toString(),
    onClosed: address => void closed.push(address)
  })
  const through = async (client: string) => {
    const wire = await Wire.dial(t, port.address)
    wire.head('GET /', [`X-Forwarded-For: ${client}`])
    t.equal((await wire.answer()).status, 200)
    return wire
  }
  const honest = [await through('192.0.2.1'), await through('192.0.2.2'), await through('192.0.2.3')]
  // All of a /64 is one client.
  const held: Wire[] = []
  for (let at = 1; at <= 17; at++) held.push(await through(`2001:db8::${at}`))
  for (let at = 4; at <= 8; at++) honest.push(await through(`192.0.2.${at}`))
  t.equal(closed.length, 5)
  await until(() => held.filter(({ socket }) => socket.closed).length === 5)
  t.ok(honest.every(({ socket }) => !socket.closed))
})

/** A port whose clients have to read 1 KiB in 400 ms. */
async function impatientPort(t: Test, bytes: number, tls?: { key: string; cert: string }) {
  const closed: string[] = []
  const port = await openPort(t, (_request, response) => void response.end(Buffer.alloc(bytes)), {
    unread: { bytes: 1024, perMs: 400 },
    onClosed: (_address, reason) => void closed.push(reason),
    ...(tls ? { tls } : {})
  })
  return { ...port, closed }
}

for (const bytes of [200, 30_000, 8 * 1024 * 1024]) {
  test(`unread responses: of ${bytes} bytes, of requests one after another, end their connection`, async t => {
    const { address, closed } = await impatientPort(t, bytes)
    const wire = await Wire.dial(t, address)
    wire.socket.pause()
    wire.socket.write(request().repeat(Math.ceil(16_000_000 / bytes)))
    await until(() => closed.length > 0)
    t.strictSame(closed, ['unread'])
    const wireThatReads = await Wire.dial(t, address)
    wireThatReads.head('GET /')
    t.equal((await wireThatReads.answer()).body.length, bytes)
  })
}

test('unread responses: over TLS they end their connection as well', async t => {
  const { address, closed } = await impatientPort(t, 4_000_000, certificate(t))
  const [host, port] = address.split(':')
  const clients = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const client = connectTls({ host, port: Number(port), rejectUnauthorized: false })
      t.teardown(() => client.destroy())
      client.on('error', () => {})
      await once(client, 'secureConnect')
      client.pause()
      client.write(request().repeat(10))
      return client
    })
  )
  await until(() => closed.length === clients.length)
  t.strictSame([...new Set(closed)], ['unread'])
})

test('unread responses: a slow but steady reader gets the whole of a large one', async t => {
  const bytes = 24 * 1024 * 1024
  const { address, closed } = await impatientPort(t, bytes)
  const wire = await Wire.dial(t, address)
  wire.head('GET /')
  const answer = wire.answer()
  while (wire.socket.bytesRead < bytes) {
    const before = wire.socket.bytesRead
    await until(() => wire.socket.bytesRead > Math.min(before + 3_000_000, bytes - 1))
    wire.socket.pause()
    await new Promise(resolve => setTimeout(resolve, 50))
    wire.socket.resume()
  }
  t.equal((await answer).body.length, bytes)
  t.strictSame(closed, [])
})

test('unread responses: a connection that rests, or whose request takes long, is not closed', async t => {
  const closed: string[] = []
  const door = Promise.withResolvers<void>()
  const { address } = await openPort(t, async (_request, response) => void (await door.promise.then(() => response.end('x'))), {
    unread: { bytes: 1024, perMs: 50 },
    onClosed: (_address, reason) => void closed.push(reason)
  })
  const other = await impatientPort(t, 8 * 1024 * 1024)
  const [idle, busy, unread] = [await Wire.dial(t, address), await Wire.dial(t, address), await Wire.dial(t, other.address)]
  busy.head('GET /')
  unread.socket.pause()
  unread.head('GET /')
  await until(() => other.closed.length > 0)
  door.resolve()
  t.equal((await busy.answer()).status, 200)
  idle.head('GET /')
  t.equal((await idle.answer()).status, 200)
  t.strictSame(closed, [])
})

test('TLS port: plain HTTP is answered with what is wrong', async t => {
  const { key, cert } = certificate(t)
  const { address } = await openPort(t, (_request, response) => void response.end('x'), { tls: { key, cert } })
  const wire = await Wire.dial(t, address)
  wire.head('GET /v2/')
  const { status, headers, body } = await wire.answer()
  t.strictSame([status, headers['content-type']], [400, 'application/json'])
  t.match(JSON.parse(body.toString()), { errors: [{ code: 'UNSUPPORTED', detail: { reason: 'this port speaks TLS: use https' } }] })
  await wire.end()
})
