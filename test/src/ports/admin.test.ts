import { rename } from 'node:fs/promises'
import { test } from 'tap'
import pkg from '../../../package.json' with { type: 'json' }
import { ask, filesBelow, serve, startSession } from '../support.ts'

for (const path of ['/livez', '/readyz', '/readyz/write']) {
  test(`admin: ${path} answers 200`, async t => {
    const { admin } = await serve(t)
    const { status, body } = await ask(admin, 'GET', path)
    t.strictSame([status, JSON.parse(body.toString())], [200, { status: 'ok' }])
  })
}

test('admin: /status reports mode, version, uptime and use of the storage', async t => {
  const served = await serve(t)
  const { headers, body } = await ask(served.admin, 'GET', '/status')
  t.match(headers['content-type'], /^application\/json/)
  t.match(JSON.parse(body.toString()), {
    mode: 'Local',
    version: pkg.version,
    uptimeSeconds: Number,
    listen: served.listen,
    storage: { root: served.root, free: Number, total: Number },
    log: { level: 'info' }
  })
})

test('admin: it is read-only, and knows nothing of the registry', async t => {
  const { admin } = await serve(t)
  for (const [method, path] of [
    ['PUT', '/log/level'],
    ['POST', '/status'],
    ['DELETE', '/metrics'],
    ['GET', '/v2/'],
    ['GET', '/debug']
  ] as const) {
    t.equal((await ask(admin, method, path, { body: method === 'GET' ? '' : '{}' })).status, 404, `${method} ${path}`)
  }
})

test('admin: the registry port knows nothing of it', async t => {
  const { listen } = await serve(t)
  for (const path of ['/livez', '/readyz', '/metrics', '/status']) t.equal((await ask(listen, 'GET', path)).status, 404, path)
})

test('admin: /readyz/write leaves no file behind', async t => {
  const served = await serve(t)
  await startSession(served, 'a')
  const before = await filesBelow(served.root)
  await ask(served.admin, 'GET', '/readyz/write')
  t.strictSame(await filesBelow(served.root), before)
})

test('admin: /readyz fails with the reason when the storage is gone', async t => {
  const served = await serve(t)
  await rename(served.root, `${served.root}.away`)
  const { status, body } = await ask(served.admin, 'GET', '/readyz')
  t.strictSame([status, JSON.parse(body.toString()).status], [503, 'unavailable'])
  t.match(JSON.parse(body.toString()).reason, /ENOENT/)
  t.equal((await ask(served.admin, 'GET', '/livez')).status, 200)
  await rename(`${served.root}.away`, served.root)
  t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
})
