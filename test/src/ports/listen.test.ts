import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Test, test } from 'tap'
import { answerParserError, createPort, drain } from '../../../src/ports/listen.ts'
import { Wire } from '../api/wire.ts'
import { until } from '../support.ts'

const hour = 3_600_000

async function open(t: Test, listener: RequestListener, head = hour): Promise<{ server: Server; address: string }> {
  const server = createPort(listener, undefined, { maxConnections: 10, headTimeoutMs: head })
  server.on('clientError', answerParserError)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('drain: a running request may end, and its connection with it', async t => {
  let finish = () => {}
  const { server, address } = await open(t, (_request, response) => {
    finish = () => void response.end('done')
    response.writeHead(200, { 'content-length': 4 }).flushHeaders()
  })
  const wire = await Wire.dial(t, address)
  wire.head('GET /')
  await wire.bytes(10)
  const drained = drain(server, hour)
  finish()
  t.equal(await drained, true)
  t.equal((await wire.answer()).body.toString(), 'done')
  await wire.end()
})

test('drain: past its limit it closes what is left and resolves to false', async t => {
  const { server, address } = await open(t, () => {})
  const wire = await Wire.dial(t, address)
  const received = once(server, 'request')
  wire.head('GET /')
  await received
  t.equal(await drain(server, 10), false)
  await wire.end()
})

test('drain: without connections it is done', async t => {
  const { server } = await open(t, () => {})
  t.equal(await drain(server, 0), true)
})

test('not HTTP: after the head of a response the connection ends without another byte', async t => {
  const { address } = await open(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('half')
  })
  const wire = await Wire.dial(t, address)
  wire.head('GET /')
  await until(() => wire.waiting.includes('half'))
  await wire.send('\0garbage\r\n\r\n')
  t.match((await wire.end()).toString(), /\r\n\r\nhalf$/)
})

test('not HTTP: during a request without a response yet, the error is its response', async t => {
  const { address } = await open(t, () => {})
  const wire = await Wire.dial(t, address)
  wire.head('PUT /', ['Content-Length: 3'])
  await wire.send('123\0\0\0')
  const { status, body } = await wire.answer()
  t.equal(status, 400)
  t.match(JSON.parse(body.toString()), {
    errors: [{ code: 'SIZE_INVALID', detail: { reason: 'the body does not have its declared length' } }]
  })
  await wire.end()
})

test('a request may take longer than its head: the limit is on the head only', async t => {
  let finish = () => {}
  const { address } = await open(t, (_request, response) => (finish = () => void response.end()), 100)
  const wire = await Wire.dial(t, address)
  wire.head('GET /')
  const slow = await Wire.dial(t, address)
  slow.socket.write('GET / HT')
  t.equal((await slow.answer()).status, 408, 'the limit is over for this one')
  finish()
  t.equal((await wire.answer()).status, 200)
})
