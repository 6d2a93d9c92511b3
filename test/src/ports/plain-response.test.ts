// The attack: what was pushed, or what an upstream sends, is opened in a browser that guesses a type of its own, and runs as
// a page of the registry's origin.
import { request } from 'node:http'
import { test } from 'tap'
import { imageOf } from '../../support/content.ts'
import { Wire } from '../api/wire.ts'
import { ask, digestOf, guarded, pushBlob, serve } from '../support.ts'

const nosniff = 'nosniff'

test('every answer of the registry port and of the admin port forbids to guess its type', async t => {
  const served = await serve(t)
  const { listen, admin } = served
  const blobs = await Promise.all(['config', 'layer'].map(each => pushBlob(served, 'a', Buffer.from(each))))
  const image = imageOf('config', ['layer'])
  const digest = digestOf(image)
  const asked: [method: string, path: string, status: number, headers?: Record<string, string>, body?: Buffer][] = [
    ['GET', '/', 200],
    ['GET', '/v2/', 200],
    ['PUT', '/v2/a/manifests/v1?tag=v2', 201, {}, image],
    ['PUT', '/v2/a/manifests/v1', 400, {}, Buffer.from('<html>')],
    ['GET', '/v2/a/manifests/v1', 200],
    ['GET', '/v2/a/manifests/v1', 304, { 'if-none-match': `"${digest}"` }],
    ['HEAD', '/v2/a/manifests/v1', 200],
    ['GET', `/v2/a/blobs/${blobs[1]}`, 200],
    ['GET', `/v2/a/blobs/${blobs[1]}`, 206, { range: 'bytes=1-2' }],
    ['GET', `/v2/a/blobs/${blobs[1]}`, 416, { range: 'bytes=99-' }],
    ['HEAD', `/v2/a/blobs/${blobs[1]}`, 200],
    ['GET', '/v2/a/tags/list', 200],
    ['GET', '/v2/_catalog?ns=none.example', 404],
    ['GET', '/v2/none/manifests/v1', 404],
    ['PATCH', '/v2/', 405],
    ['POST', '/v2/a/blobs/uploads/', 202],
    ['DELETE', '/v2/a/manifests/v1', 202],
    ['GET', '/none', 404],
    ['GET', '/%', 400]
  ]
  for (const [method, path, status, headers = {}, body] of asked) {
    const answer = await ask(listen, method, path, { headers, ...(body ? { body } : {}) })
    t.equal(answer.status, status, `${method} ${path}`)
    t.equal(answer.headers['x-content-type-options'], nosniff, `${method} ${path}`)
  }
  for (const path of ['/livez', '/readyz', '/metrics', '/status', '/none'])
    t.equal((await ask(admin, 'GET', path)).headers['x-content-type-options'], nosniff, path)
})

test('an answer without a right, and one to bytes that are not HTTP, forbid to guess their type as well', async t => {
  const { listen } = await serve(t, { auth: guarded(t) })
  const refused = await ask(listen, 'GET', '/v2/')
  t.strictSame([refused.status, refused.headers['x-content-type-options']], [401, nosniff])
  const wire = await Wire.dial(t, listen)
  wire.socket.write('GARBAGE\r\n\r\n')
  t.match(await wire.end(), /^HTTP\/1.1 4\d\d [\s\S]*x-content-type-options: nosniff\r\n/)
})

test('an answer that Node writes by itself has the field once', async t => {
  const { listen } = await serve(t)
  const [host, port] = listen.split(':')
  const answered = Promise.withResolvers<string[]>()
  const outgoing = request({
    host,
    port,
    method: 'PUT',
    path: '/v2/a/manifests/v1',
    headers: { expect: '100-continue', 'content-length': 5 }
  })
  outgoing.once('continue', () => outgoing.end('<htm>'))
  outgoing.once('response', response => answered.resolve(response.resume().rawHeaders))
  outgoing.flushHeaders()
  const fields = await answered.promise
  t.equal(fields.filter(each => each.toLowerCase() === 'x-content-type-options').length, 1)
})
