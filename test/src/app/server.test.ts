import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import { test } from 'tap'
import { startRegistry } from '../../../src/app/server.ts'
import { Wire } from '../api/wire.ts'
import { ask, bytesOf, configured, digestOf, folder, openFiles, pushBlob, pushImage, serve, startSession } from '../support.ts'

const quiet = pino({ level: 'silent' }, { write: () => {} })

test('server: pushed content is there after a restart', async t => {
  const served = await serve(t)
  const { manifest } = await pushImage(served, 'a', 'v1')
  await served.stop()
  const again = await serve(t, { root: served.root })
  t.equal((await ask(again.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
})

test('server: two registries in one process have nothing in common', async t => {
  const [one, two] = [await serve(t), await serve(t)]
  await pushImage(one, 'a', 'v1')
  t.equal((await ask(two.listen, 'GET', '/v2/a/manifests/v1')).status, 404)
})

test('server: when it cannot start, nothing is left running and the root is free again', async t => {
  const taken = createServer()
  await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const root = join(folder(t), 'root')
  await t.rejects(startRegistry(configured(t, { root, server: { admin: `127.0.0.1:${port}` } }), quiet), /EADDRINUSE/)
  t.strictSame(await openFiles(root), [])
  t.equal((await ask((await serve(t, { root })).listen, 'GET', '/v2/')).status, 200)
})

test('server: a users file that cannot be read refuses the start', async t => {
  const config = configured(t, { auth: { users: { file: '/nowhere/htpasswd' } } })
  await t.rejects(startRegistry(config, quiet), { code: 'ENOENT' })
})

test('server: stop resolves to true when all transfers could end', async t => {
  const served = await serve(t)
  t.equal(await served.stop(), true)
})

test('server: stop ends what is running when server.drain is over, and resolves to false', async t => {
  const served = await serve(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head(`PATCH ${await startSession(served, 'a')}`, ['Content-Length: 100', 'Expect: 100-continue'])
  t.equal((await wire.answer('head')).status, 100)
  t.equal(await served.stop(), false)
  await wire.end()
})

test('server: idle connections do not hold up a stop', async t => {
  const served = await serve(t, { server: { drain: '1h' } })
  const wire = await Wire.dial(t, served.listen)
  wire.head('GET /v2/')
  t.equal((await wire.answer()).status, 200)
  t.equal(await served.stop(), true)
  await wire.end()
})

test('server: after a stop no port answers', async t => {
  const served = await serve(t)
  await served.stop()
  for (const address of [served.listen, served.admin]) await t.rejects(ask(address, 'GET', '/'), { code: 'ECONNREFUSED' })
})

test('server: content whose directory was removed is unknown, and the next push works', async t => {
  const served = await serve(t)
  const digest = await pushBlob(served, 'a', bytesOf(3))
  await rm(join(served.root, 'docker'), { recursive: true })
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
  t.equal((await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })).status, 201)
})
