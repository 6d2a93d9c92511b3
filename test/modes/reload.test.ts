import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { ask, folder, metric } from '../src/support.ts'
import { certificate } from '../support/certificate.ts'
import { startUpstream } from '../support/upstream.ts'
import { behind, prefix, serveModes } from './scene.ts'

const manifest = `/v2/${prefix.here}/app/manifests/v1`
const refused = 'the changed configuration is refused; the previous one stays in force'

for (const [what, text] of [
  ['an empty file', ''],
  ['a file of comments', '# nothing\n'],
  ['a half-written file', 'registry:\n  mode: Proxy\n  proxy:\n    imagesRepo: "registry.exa'],
  ['an unknown setting', 'registry: { mode: Local, mod: Proxy }\n'],
  ['a wrong value', 'registry: { mode: Unmanaged }\n']
] as const) {
  test(`${what} changes nothing, and is reported in log, metric and status`, async t => {
    const upstream = await startUpstream(t)
    upstream.addImage(`${prefix.there}/app`, 'v1')
    const served = await serveModes(t, { registry: behind('Proxy', upstream) })
    const last = await served.write(text)
    t.equal(last.result, 'faulty')
    t.match((await served.status())['reload'], { result: 'faulty', reason: /registry\.yaml/ })
    t.equal(await metric(served, 'registry_config_reloads_total', '{result="faulty"}'), 1)
    t.equal(served.logged(refused).length, 1)
    t.equal((await served.status())['mode'], 'Proxy')
    t.equal((await ask(served.listen, 'GET', manifest)).status, 200)
    await served.reload()
    t.equal(served.logged(refused).length, 1, 'the same fault is reported once')
  })
}

test('a fault that was undone is no longer in the status', async t => {
  const registry = { mode: 'Local' }
  const served = await serveModes(t, { registry })
  await served.write('')
  t.equal((await served.change({ registry })).result, 'unchanged')
  t.match((await served.status())['reload'], { result: 'unchanged' })
  t.equal((await served.write('')).result, 'faulty')
  t.equal(served.logged(refused).length, 2, 'the fault comes back and is reported again')
})

test('a file that is missing changes nothing', async t => {
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  rmSync(served.file)
  t.equal((await served.reload()).result, 'faulty')
  t.equal((await ask(served.listen, 'GET', '/v2/')).status, 200)
})

for (const [path, sections] of [
  ['server.listen', { server: { listen: '127.0.0.1:1' } }],
  ['server.admin', { server: { admin: '127.0.0.1:1' } }],
  ['limits.connections', { limits: { connections: 7 } }],
  ['storage.filesystem.root', { storage: { filesystem: { root: '/nowhere' } } }]
] as const) {
  test(`a change of ${path} needs a restart: the file is refused whole, and the setting is named`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: { mode: 'Local' } })
    const last = await served.change({ registry: behind('Proxy', upstream), ...sections })
    t.equal(last.result, 'refused')
    t.match(last.reason, path)
    t.notMatch(last.reason, /registry\.mode/)
    t.equal((await served.status())['mode'], 'Local')
    t.equal(await metric(served, 'registry_config_reloads_total', '{result="refused"}'), 1)
  })
}

test('a changed configuration is reported in log, metric and status', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  await served.change({ registry: behind('Direct', upstream) })
  t.match((await served.status())['reload'], { result: 'applied', changed: ['registry.mode'] })
  t.equal(await metric(served, 'registry_config_reloads_total', '{result="applied"}'), 1)
  t.equal(served.logged('the changed configuration is in force').length, 1)
})

test('changed credentials of the upstream take effect', async t => {
  const upstream = await startUpstream(t, { auth: { scheme: 'Bearer', username: 'puller', password: 'new' } })
  upstream.addImage(`${prefix.there}/app`, 'v1')
  const of = (password: string) => ({ registry: behind('Proxy', upstream, { username: 'puller', password }) })
  const served = await serveModes(t, of('old'))
  t.equal((await ask(served.listen, 'GET', manifest)).status, 403)
  const last = await served.change(of('new'))
  t.strictSame(last.changed, ['registry.proxy.password'])
  t.equal((await ask(served.listen, 'GET', manifest)).status, 200)
  t.notMatch(JSON.stringify(served.lines), /"(old|new)"/)
})

test('a password file of the upstream that changes takes effect', async t => {
  const upstream = await startUpstream(t, { auth: { scheme: 'Basic', username: 'puller', password: 'new' } })
  upstream.addImage(`${prefix.there}/app`, 'v1')
  const passwordFile = join(folder(t), 'password')
  writeFileSync(passwordFile, 'old')
  const served = await serveModes(t, { registry: behind('Proxy', upstream, { username: 'puller', passwordFile }) })
  t.equal((await ask(served.listen, 'GET', manifest)).status, 403)
  writeFileSync(passwordFile, 'new')
  t.equal((await served.reload()).result, 'applied')
  t.equal((await ask(served.listen, 'GET', manifest)).status, 200)
})

test('changed endpoints of the upstream take effect', async t => {
  const [first, second] = [await startUpstream(t), await startUpstream(t)]
  second.addImage(`${prefix.there}/app`, 'v1')
  const of = (url: string) => ({ registry: behind('Proxy', first, { endpoints: [new URL(url).host] }), cache: { negativeTTL: '1h' } })
  const served = await serveModes(t, of(first.url))
  t.equal((await ask(served.listen, 'GET', manifest)).status, 404)
  await served.change(of(second.url))
  t.equal((await ask(served.listen, 'GET', manifest)).status, 200)
})

test('changed permissions take effect', async t => {
  const served = await serveModes(t, { registry: { mode: 'Local' }, auth: { anonymous: ['pull'] } })
  t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 401)
  await served.change({ registry: { mode: 'Local' }, auth: { anonymous: ['pull', 'push'] } })
  t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 202)
})

test('a users file that cannot be read refuses the change as a whole', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  const last = await served.change({ registry: behind('Proxy', upstream), auth: { users: { file: '/nowhere/htpasswd' } } })
  t.equal(last.result, 'faulty')
  const status = await served.status()
  t.strictSame([status['mode'], status['upstreams']], ['Local', {}])
})

test('a changed CA of the upstream takes effect, and an old and a new one can be valid side by side', async t => {
  const [old, next] = [certificate(t), certificate(t)]
  const content = (await startUpstream(t)).content
  const [first, second] = [await startUpstream(t, { tls: old, content }), await startUpstream(t, { tls: next, content })]
  for (const tag of ['v1', 'v2', 'v3']) first.addImage(`${prefix.there}/app`, tag)
  const of = (upstream: typeof first, ca: string) => ({ registry: behind('Proxy', upstream, { scheme: 'HTTPS', ca }) })
  const served = await serveModes(t, of(first, old.cert))
  const statusOf = async (tag: string) => (await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/${tag}`)).status
  t.equal(await statusOf('v1'), 200)
  await served.change(of(second, old.cert))
  t.equal(await statusOf('v2'), 502, 'the upstream has a certificate of the new CA already')
  await served.change(of(second, `${old.cert}${next.cert}`))
  t.equal(await statusOf('v2'), 200)
  await served.change(of(first, `${old.cert}${next.cert}`))
  t.equal(await statusOf('v3'), 200)
})
