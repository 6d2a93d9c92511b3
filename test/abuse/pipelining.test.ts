// The attack: a client pipelines as many requests as fit into the socket and reads no response. Node's server parses
// each chunk of 64 KiB to its end and dispatches all of its requests at once, 3,600 of the shortest, and reads the next
// chunk at once. Each had its work begun: 16,000 requests of two connections, 6,659 open files, 187 MiB.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect as connectTls } from 'node:tls'
import { test } from 'tap'
import { drain } from '../../src/ports/listen.ts'
import { inTurn } from '../../src/ports/pipelining.ts'
import { Wire } from '../src/api/wire.ts'
import { ask, until } from '../src/support.ts'
import { certificate } from '../support/certificate.ts'
import { flood, listening, liveHeapBytes, openPort, pipelined, settle } from './attack.ts'

const KIB = 1024
const padding = `X: ${'a'.repeat(KIB)}`

/** A listener that holds the requests below `/held` until they are released; the others are answered at once. */
function holding() {
  const held: ServerResponse[] = []
  const seen = { running: 0, maxRunning: 0, order: [] as string[], overflows: [] as string[] }
  const door = { open: false }
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const { url = '' } = request
    if (!url.startsWith('/held')) return void response.end('honest')
    seen.running++
    seen.maxRunning = Math.max(seen.maxRunning, seen.running)
    seen.order.push(url)
    response.prependOnceListener('close', () => seen.running--)
    if (door.open) response.end('x')
    else held.push(response)
  }
  const release = () => {
    door.open = true
    for (const response of held.splice(0)) response.end('x')
  }
  const onOverflow = (address: string) => void seen.overflows.push(address)
  return { listener, release, seen, onOverflow }
}

test('pipelining: one request of a connection runs, a few wait, the rest is not read', async t => {
  const { listener, release, seen } = holding()
  const { server, address } = await openPort(t, listener)
  let parsed = 0
  server.on('request', ({ url }) => url?.startsWith('/held') && parsed++)
  const connected = once(server, 'connection')
  const count = 1_500
  const wire = await flood(t, address, pipelined(count, 'GET /held', [padding]))
  const [socket] = await connected
  await until(() => parsed > 0)
  await settle(async () => t.equal((await ask(address, 'GET', '/honest')).body.toString(), 'honest'))
  t.equal(seen.running, 1)
  t.ok(parsed <= 72, `${parsed} heads were parsed`)
  t.ok(socket.bytesRead <= 192 * KIB, `${socket.bytesRead} bytes were read`)
  release()
  let answers = 0
  while (answers < count && (await wire.answer()).status === 200) answers++
  t.equal(answers, count)
  t.equal(seen.maxRunning, 1)
})

test('pipelining: a chunk of the shortest requests is answered whole, and nothing behind it is read meanwhile', async t => {
  const { listener, release, seen, onOverflow } = holding()
  const { server, address } = await openPort(t, listener, { onClosed: onOverflow })
  let parsed = 0
  server.on('request', ({ url }) => url?.startsWith('/held') && parsed++)
  const count = 20_000
  const wire = await flood(t, address, 'GET /held HTTP/1.1\r\n\r\n'.repeat(count))
  await until(() => seen.running === 1)
  await settle(async () => t.equal((await ask(address, 'GET', '/honest')).body.toString(), 'honest'))
  t.ok(parsed <= 8 * KIB, `${parsed} heads were parsed`)
  release()
  let answers = 0
  while (answers < count && (await wire.answer()).status === 200) answers++
  t.equal(answers, count)
  t.equal(seen.maxRunning, 1)
  t.strictSame(seen.overflows, [])
})

test('pipelining: where all together wait with too many, the connection with the most is closed, and its memory returns', async t => {
  const { listener, release, seen, onOverflow } = holding()
  const { address } = await openPort(t, listener, { onClosed: onOverflow })
  const honest = await flood(t, address, pipelined(5, 'GET /held'))
  const before = liveHeapBytes()
  const wires: Wire[] = []
  for (let connections = 0; connections < 12; connections++) {
    wires.push(await flood(t, address, pipelined(5_000, 'GET /held')))
    await settle(async () => t.equal((await ask(address, 'GET', '/honest')).body.toString(), 'honest'))
  }
  await until(() => seen.overflows.length >= 6)
  t.equal(seen.order.length, 13, 'of each connection one request ran')
  t.notOk(honest.socket.destroyed, 'a client with few is not closed')
  t.ok(liveHeapBytes() - before < 64 * KIB * KIB, 'what is kept of them is bounded')
  for (const wire of [honest, ...wires]) wire.socket.destroy()
  release()
  await until(() => seen.running === 0)
  t.ok(liveHeapBytes() - before < 16 * KIB * KIB, 'nothing of them is kept')
})

test('pipelining: the waiting requests of all connections are bounded, and those of a closed one count no longer', async t => {
  const { listener, seen, onOverflow } = holding()
  const limits = { pauseAt: 1_000, maxWaitingTotal: 1_024 }
  const { server, address } = await listening(t, createServer(inTurn(listener, onOverflow, limits)))
  let parsed = 0
  server.on('request', ({ url }) => url?.startsWith('/held') && parsed++)
  // 61 requests a connection: one runs, one waits as each connection may let one, and 59 count.
  const wires = await Promise.all(Array.from({ length: 17 }, () => flood(t, address, pipelined(61, 'GET /held'))))
  await until(() => parsed === 17 * 61)
  t.strictSame(seen.overflows, [])
  const most = await flood(t, address, pipelined(71, 'GET /held'))
  await until(() => seen.overflows.length === 1)
  const early = await flood(t, address, pipelined(2, 'GET /held'))
  await until(() => seen.running === 18)
  await settle(() => ask(address, 'GET', '/honest'))
  t.notOk(early.socket.destroyed, 'one early request of a connection may always wait')
  const few = await flood(t, address, pipelined(40, 'GET /held'))
  await most.end()
  t.equal(seen.overflows.length, 2)
  t.notOk(few.socket.destroyed, 'the connection with the most gives way to one with few')
  for (const wire of [...wires, few]) wire.socket.destroy()
  await until(() => seen.running === 1)
  const again = await flood(t, address, pipelined(1_000, 'GET /held'))
  await until(() => seen.running === 2)
  await settle(() => ask(address, 'GET', '/honest'))
  t.notOk(again.socket.destroyed)
  t.equal(seen.overflows.length, 2)
})

test('pipelining: over TLS the same bounds hold, and all that was sent is answered in its order', async t => {
  const { listener, release, seen } = holding()
  const { key, cert } = certificate(t)
  const { server, address } = await openPort(t, listener, { tls: { key, cert } })
  let parsed = 0
  server.on('request', ({ url }) => url?.startsWith('/held') && parsed++)
  const count = 1_500
  const client = connectTls({ host: '127.0.0.1', port: Number(address.split(':')[1]), rejectUnauthorized: false })
  t.teardown(() => client.destroy())
  let received = ''
  client.on('data', bytes => (received += bytes.toString('latin1')))
  await once(client, 'secureConnect')
  client.write(Array.from({ length: count }, (_each, at) => pipelined(1, `GET /held/${at}`, [padding])).join(''))
  await until(() => seen.running === 1)
  await settle(async () => {})
  t.ok(parsed <= 72, `${parsed} heads were parsed`)
  release()
  await until(() => received.split('HTTP/1.1 200').length - 1 === count)
  t.equal(seen.maxRunning, 1)
  t.strictSame(
    seen.order,
    Array.from({ length: count }, (_each, at) => `/held/${at}`)
  )
})

test('pipelining: bodies and Expect: 100-continue behind a running request arrive whole', async t => {
  const bodies: string[] = []
  const releases: (() => void)[] = []
  const { address } = await openPort(t, async (request, response) => {
    if (request.url === '/held') await new Promise<void>(resolve => releases.push(resolve))
    bodies.push(
      Buffer.concat(await request.toArray())
        .toString()
        .slice(0, 3)
    )
    response.end(String(bodies.length))
  })
  const wire = await Wire.dial(t, address)
  const big = `abc${'.'.repeat(300 * KIB)}`
  wire.head('GET /held')
  wire.head('PUT /', [`Content-Length: ${big.length}`])
  wire.socket.write(big)
  wire.head('PUT /', ['Transfer-Encoding: chunked'])
  wire.socket.write('3\r\nxyz\r\n0\r\n\r\n')
  wire.head('PUT /', ['Content-Length: 3', 'Expect: 100-continue'])
  await until(() => releases.length === 1)
  releases[0]?.()
  for (const answer of ['1', '2', '3']) t.equal((await wire.answer()).body.toString(), answer)
  t.equal((await wire.answer('head')).status, 100)
  await wire.send('end')
  t.equal((await wire.answer()).body.toString(), '4')
  t.strictSame(bodies, ['', 'abc', 'xyz', 'end'])
})

test('pipelining: no request behind one with Connection: close is handled', async t => {
  const urls: string[] = []
  const { address } = await openPort(t, (request, response) => {
    urls.push(request.url ?? '')
    setImmediate(() => response.end('x'))
  })
  const wire = await flood(t, address, pipelined(1, 'GET /first', ['Connection: close']) + pipelined(3, 'DELETE /second'))
  t.equal((await wire.answer()).headers['connection'], 'close')
  t.equal((await wire.end()).length, 0)
  t.strictSame(urls, ['/first'])
})

test('pipelining: a client that leaves has no other of its requests begun', async t => {
  const { listener, seen } = holding()
  const { address } = await openPort(t, listener)
  const wire = await flood(t, address, pipelined(5, 'GET /held'))
  await until(() => seen.running === 1)
  wire.socket.destroy()
  await until(() => seen.running === 0)
  t.equal(seen.order.length, 1)
})

test('pipelining: a head whose end waits behind a running request does not time out', async t => {
  const { listener, release } = holding()
  const { address } = await openPort(t, listener, { headTimeoutMs: 100 })
  const wire = await flood(t, address, `${pipelined(1, 'GET /held')}GET /honest HTTP/1.1\r\nHo`)
  const slow = await flood(t, address, 'GET / HT')
  t.equal((await slow.answer()).status, 408, 'the time is over for this one')
  await wire.send('st: r\r\n\r\n')
  await settle(async () => {})
  release()
  t.equal((await wire.answer()).status, 200)
  t.equal((await wire.answer()).body.toString(), 'honest')
})

test('pipelining: a drain waits for the requests that had arrived', async t => {
  const { listener, release, seen } = holding()
  const { server, address } = await openPort(t, listener)
  let parsed = 0
  server.on('request', () => parsed++)
  const wire = await flood(t, address, pipelined(20, 'GET /held'))
  await until(() => parsed === 20)
  const drained = drain(server, 3_600_000)
  release()
  for (let answers = 0; answers < 20; answers++) t.equal((await wire.answer()).status, 200)
  t.equal(await drained, true)
  t.equal(seen.order.length, 20)
})
