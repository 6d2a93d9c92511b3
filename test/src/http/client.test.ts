import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { createSecureContext, createServer as createTlsServer } from 'node:tls'
import { type Test, test } from 'tap'
import { HttpClient } from '../../../src/http/client.ts'
import type { HttpClientResponse, HttpOrigin, HttpTimeouts } from '../../../src/http/connection.ts'
import { SocketBody } from '../../../src/http/socket-body.ts'
import { certificate } from '../../support/certificate.ts'

const timeouts: HttpTimeouts = { connectMs: 5_000, responseMs: 5_000, bodyIdleMs: 5_000, keepAliveMs: 5_000 }

interface Peer {
  target: HttpOrigin
  /** Requests by connection. */
  requests: string[][]
  client: HttpClient
  get(path?: string): Promise<HttpClientResponse>
}

/** A server that calls `respond` for each request, with the number of the connection and of the request on it. */
async function peer(
  t: Test,
  respond: (socket: Socket, at: { connection: number; request: number }) => unknown,
  { encrypted = false, ...more }: Partial<HttpTimeouts> & { encrypted?: boolean } = {}
): Promise<Peer> {
  const requests: string[][] = []
  const sockets = new Set<Socket>()
  const serve = (socket: Socket) => {
    const connection = requests.push([]) - 1
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', chunk => {
      text += chunk
      if (!text.endsWith('\r\n\r\n')) return
      const request = (requests[connection]?.push(text) ?? 0) - 1
      text = ''
      void respond(socket, { connection, request })
    })
  }
  const pair = encrypted ? certificate(t) : undefined
  const server = pair ? createTlsServer(pair, serve) : createServer(serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = new HttpClient({ ...timeouts, ...more })
  t.teardown(() => {
    client.destroy()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const target = { host: '127.0.0.1', port, ...(pair ? { secureContext: createSecureContext({ ca: pair.cert }) } : {}) }
  return { target, requests, client, get: (path = '/') => client.request({ ...target, method: 'GET', path, fields: { host: 'peer' } }) }
}

const headOf = (length: number, more = '') => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n${more}\r\n`

function bodyOf({ body }: HttpClientResponse): SocketBody {
  if (body instanceof SocketBody) return body
  throw new Error('the body is not on a connection')
}

/** Reads to the end into buffers of the sizes that `next` gives; what was given must not change afterwards. */
async function readAll(t: Test, body: SocketBody, next: () => number): Promise<Buffer> {
  const pieces: { bytes: Buffer; digest: string }[] = []
  for (;;) {
    const into = Buffer.alloc(next())
    const length = await body.readInto(into)
    if (length === 0) break
    const bytes = into.subarray(0, length)
    pieces.push({ bytes, digest: createHash('sha256').update(into).digest('hex') })
    // A slow reader now and then.
    if (pieces.length % 7 === 0) await delay(1)
  }
  t.ok(
    pieces.every(
      ({ bytes, digest }) => createHash('sha256').update(new Uint8Array(bytes.buffer, bytes.byteOffset)).digest('hex') === digest
    ),
    'nothing was written to a buffer that had been given'
  )
  return Buffer.concat(pieces.map(({ bytes }) => bytes))
}

for (const encrypted of [false, true]) {
  const how = encrypted ? 'TLS' : 'plain'

  test(`http, ${how}: bodies of any size arrive whole in buffers of any size, however they are sent, over one connection`, async t => {
    const sizes = [1, 2, 16_383, 16_384, 16_385, 65_536, 100_000, 1_000_003, 9_000_001]
    const bodies = sizes.map(size => randomBytes(size))
    const pieces = [() => 1e9, () => 1 + Math.floor(Math.random() * 3_000), () => 16_384, () => 1 + Math.floor(Math.random() * 200_000)]
    let send = pieces[0] ?? (() => 1)
    const { get, requests } = await peer(
      t,
      async (socket, { request }) => {
        const body = bodies[request % bodies.length] ?? Buffer.alloc(0)
        const all = Buffer.concat([Buffer.from(headOf(body.length)), body])
        for (let at = 0; at < all.length; ) {
          const length = body.length > 1_000_003 ? Math.max(send(), 10_000) : send()
          if (!socket.write(all.subarray(at, at + length))) await once(socket, 'drain')
          at += length
        }
      },
      { encrypted }
    )
    for (const way of pieces) {
      send = way
      for (const body of bodies) {
        const largest = Math.random() < 0.5 ? 1_048_576 : 40_000
        const read = await readAll(t, bodyOf(await get()), () => 1 + Math.floor(Math.random() * largest))
        t.ok(read.equals(body), `${body.length} bytes`)
      }
    }
    t.equal(requests.length, 1, 'connections')
  })

  test(`http, ${how}: a body can be read as a stream`, async t => {
    const body = randomBytes(300_000)
    const { get } = await peer(t, socket => socket.write(Buffer.concat([Buffer.from(headOf(body.length)), body])), { encrypted })
    t.ok(Buffer.concat(await bodyOf(await get()).toArray()).equals(body))
  })

  test(`http, ${how}: a reader that pauses holds back the sender instead of buffering`, async t => {
    const size = 64 * 1024 * 1024
    let sent = 0
    const { get } = await peer(
      t,
      async socket => {
        socket.write(headOf(size))
        const piece = Buffer.alloc(65_536)
        for (; sent < size; sent += piece.length) if (!socket.write(piece)) await once(socket, 'drain')
      },
      { encrypted }
    )
    const body = bodyOf(await get())
    await body.readInto(Buffer.alloc(100))
    for (let before = -1; before !== sent; await delay(100)) before = sent
    t.ok(sent < size, `${sent} bytes were taken by the kernel at most`)
    body.destroy()
  })

  test(`http, ${how}: a truncated body gives the bytes that arrived, then an error`, async t => {
    const { get } = await peer(t, socket => socket.write(`${headOf(10)}abc`, () => socket.destroy()), { encrypted })
    const body = bodyOf(await get())
    const into = Buffer.alloc(10)
    t.equal(await body.readInto(into), 3)
    t.equal(into.toString('latin1', 0, 3), 'abc')
    await t.rejects(body.readInto(into), { code: 'ECONNRESET' })
    await t.rejects(body.readInto(into), { code: 'ECONNRESET' }, 'and again')
  })
}

test('http: a connection that was closed while idle causes no error', async t => {
  const { get, requests } = await peer(t, (socket, { connection }) => {
    socket.write(`${headOf(2)}ok`)
    if (connection < 2) setTimeout(() => socket.destroy(), 5)
  })
  for (let at = 0; at < 3; at++) {
    t.equal(await bodyOf(await get()).readInto(Buffer.alloc(2)), 2)
    await delay(50)
  }
  t.ok(requests.length >= 3)
})

test('http: a request on a connection that is being closed is sent on another one', async t => {
  const { get, requests } = await peer(t, (socket, { connection, request }) => {
    if (connection === 0 && request === 1) socket.destroy()
    else socket.write(`${headOf(2)}ok`)
  })
  for (let at = 0; at < 2; at++) t.equal(await bodyOf(await get()).readInto(Buffer.alloc(2)), 2)
  t.same(
    requests.map(each => each.length),
    [2, 1]
  )
})

test('http: a response that breaks after its first byte is an error, and not requested again', async t => {
  const { get, requests } = await peer(t, (socket, { request }) => {
    if (request === 0) socket.write(`${headOf(2)}ok`)
    else socket.write('HTTP/1.1 2', () => socket.destroy())
  })
  await bodyOf(await get()).readInto(Buffer.alloc(2))
  await t.rejects(get(), { code: 'ECONNRESET' })
  t.equal(requests.flat().length, 2)
})

test('http: an invalid response is an error that says so', async t => {
  for (const text of [
    'SSH-2.0-OpenSSH\r\n\r\n',
    'HTTP/2 200\r\n\r\n',
    'HTTP/1.1 20 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\n Folded: x\r\n\r\n',
    'HTTP/1.1 200 OK\r\nSpace : x\r\n\r\n',
    'HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n',
    'HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n',
    'HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nhello',
    `HTTP/1.1 200 OK\r\nLong: ${'x'.repeat(70_000)}\r\n\r\n`
  ]) {
    const { get } = await peer(t, socket => socket.write(text))
    await t.rejects(get(), { code: 'EPROTO' }, text.slice(0, 60))
  }
})

test('http: more bytes than the response has are an error of the body', async t => {
  const { get } = await peer(t, socket => socket.write(`${headOf(2)}oh no`))
  await t.rejects(bodyOf(await get()).readInto(Buffer.alloc(2)), { cause: { code: 'EPROTO' } }, 'at once')
  const later = await peer(t, socket => {
    socket.write(`${headOf(2)}o`)
    setTimeout(() => socket.write('h no'), 20)
  })
  const body = bodyOf(await later.get())
  t.equal(await body.readInto(Buffer.alloc(2)), 1)
  await t.rejects(body.readInto(Buffer.alloc(2)), { cause: { code: 'EPROTO' } })
})

test('http: bytes without a request end the connection', async t => {
  const { get, requests } = await peer(t, (socket, { connection }) => {
    socket.write(`${headOf(2)}ok`)
    if (connection === 0) setTimeout(() => socket.write(`${headOf(4)}evil`), 10)
  })
  for (let at = 0; at < 2; at++) {
    const into = Buffer.alloc(9)
    t.equal(into.toString('latin1', 0, await bodyOf(await get()).readInto(into)), 'ok')
    await delay(50)
  }
  t.equal(requests.length, 2)
})

test('http: error responses are received whole, by length, in chunks, or up to the end of the connection', async t => {
  const texts = [
    'HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 503 Slow\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\nhello'
  ]
  for (const how of ['whole', 'byte by byte']) {
    const { get, requests } = await peer(t, async (socket, { request }) => {
      const text = texts[request] ?? ''
      for (let at = 0; at < text.length; at += how === 'whole' ? text.length : 1) {
        socket.write(how === 'whole' ? text : (text[at] ?? ''))
        if (how !== 'whole') await new Promise(setImmediate)
      }
      if (request === texts.length - 1) socket.end()
    })
    for (const [at, text] of texts.entries()) {
      const { head, body } = await get()
      t.same([head.status, String(body)], [Number(/ ([2-5][0-9]{2}) /.exec(text)?.[1]), at === 3 ? '' : 'hello'], how)
    }
    t.equal(requests.length, 1, 'one connection for all of them')
  }
})

test('http: a connection is not reused after `Connection: close` or a response with two lengths', async t => {
  for (const field of ['Connection: close\r\n', 'Transfer-Encoding: chunked\r\n']) {
    const chunked = field.startsWith('T')
    const { get, requests } = await peer(t, socket => socket.write(`${headOf(2, field)}${chunked ? '2\r\nok\r\n0\r\n\r\n' : 'ok'}`))
    for (let at = 0; at < 2; at++) {
      const { body } = await get()
      t.equal(String(body instanceof SocketBody ? await readAll(t, body, () => 9) : body), 'ok')
    }
    t.equal(requests.length, 2)
  }
})

test('http: a body without an end is refused', async t => {
  const { get } = await peer(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    const piece = `10000\r\n${'x'.repeat(65_536)}\r\n`
    const on = () => void (socket.destroyed || socket.write(piece, on))
    on()
  })
  await t.rejects(get(), { code: 'EPROTO' })
})

test('http: the head, and each byte that a read waits for, arrive within their timeouts', async t => {
  const head = await peer(t, () => {}, { responseMs: 50 })
  await t.rejects(head.get(), { code: 'ETIMEDOUT' })
  const byte = await peer(t, socket => socket.write(`${headOf(9)}ab`), { bodyIdleMs: 50 })
  const body = bodyOf(await byte.get())
  const into = Buffer.alloc(9)
  t.equal(await body.readInto(into), 2)
  await delay(100)
  t.pass('no read is pending')
  await t.rejects(body.readInto(into), { code: 'ETIMEDOUT' })
})

test('http: destroying a body closes its connection and rejects the pending read', async t => {
  let closed = 0
  const { get } = await peer(t, socket => {
    socket.write(`${headOf(1_000_000)}ab`)
    socket.once('close', () => closed++)
  })
  const body = bodyOf(await get())
  await body.readInto(Buffer.alloc(9))
  const waiting = t.rejects(body.readInto(Buffer.alloc(9)), { code: 'EBADF' })
  body.destroy()
  await waiting
  while (closed === 0) await delay(5)
  t.equal(closed, 1)
})

test('http: a closed port and an untrusted certificate are errors at once', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const client = new HttpClient(timeouts)
  const request = { host: '127.0.0.1', port, method: 'GET', path: '/', fields: {} }
  await t.rejects(client.request(request), { code: 'ECONNREFUSED' })
  const { target } = await peer(t, socket => socket.end(), { encrypted: true })
  await t.rejects(client.request({ ...request, ...target, secureContext: createSecureContext() }), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
})

test('http: a request that would become two is not sent', async t => {
  const { client, target, requests } = await peer(t, socket => socket.write(headOf(0)))
  const request = { ...target, method: 'GET', path: '/', fields: { host: 'peer' } }
  await t.rejects(client.request({ ...request, path: '/ HTTP/1.1\r\nHost: x\r\n\r\nGET /' }), /not a line/)
  await t.rejects(client.request({ ...request, fields: { 'x-a': 'b\r\nx-c: d' } }), /not a line/)
  t.equal(requests.flat().length, 0)
})

test('http: destroying the client rejects the pending read', async t => {
  const { client, get } = await peer(t, socket => socket.write(`${headOf(9)}ab`))
  const body = bodyOf(await get())
  await body.readInto(Buffer.alloc(2))
  const waiting = t.rejects(body.readInto(Buffer.alloc(2)), { code: 'ECONNRESET' })
  client.destroy()
  await waiting
})

test('http: requests during and after the destruction of the client reject', async t => {
  const { client, get } = await peer(t, () => {})
  const early = t.rejects(get(), { code: 'ECONNRESET' })
  client.destroy()
  await early
  await t.rejects(get(), { code: 'ECONNRESET' })
})
