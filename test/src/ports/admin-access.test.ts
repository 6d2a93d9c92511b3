// The attack: a machine that reaches the admin port reads names of upstreams, sizes and rates. The report: probes of the
// kubelet, which can send no secret, fail as soon as that is closed, and a Prometheus of version 0.1.0 stops scraping.
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { type ConnectionOptions, connect } from 'node:tls'
import { type Test, test } from 'tap'
import type { GrantSetting } from '../../../config/sections/kinds.ts'
import { tokenKey } from '../../support/tokens.ts'
import { ask, basicOf, folder, guarded, type Served, serve, until } from '../support.ts'
import { type Pki, pkiWithServer } from './tls-scene.ts'

const probes = ['/livez', '/readyz', '/readyz/write']
const guardedPaths = ['/metrics', '/status']
const roles: Record<string, GrantSetting[]> = { prometheus: ['metrics'], ro: ['pull'], rw: ['pull', 'push', 'delete'] }

const adminTLS = (pki: Pki) => ({ certificate: pki.path('server.crt'), key: pki.path('server.key') })

/** Asks the admin port over TLS; resolves to the status and the challenge. */
async function askSecurely({ admin }: Served, pki: Pki, path: string, headers = {}, client: ConnectionOptions = {}) {
  const [host, port] = admin.split(':')
  const agent = new Agent({ ca: pki.read('ca.crt'), servername: 'localhost', maxCachedSessions: 0, ...client })
  const outgoing = request({ host, port, path, agent, headers: { ...headers, connection: 'close' } }).end()
  const [response] = await once(outgoing, 'response')
  const body = Buffer.concat(await response.toArray()).toString()
  agent.destroy()
  return { status: response.statusCode, challenge: response.headers['www-authenticate'], body }
}

test('as in version 0.1.0: users alone close nothing, and a header that is wrong for them is not looked at', async t => {
  const { admin } = await serve(t, { auth: guarded(t, { ro: ['pull'] }) })
  for (const path of [...probes, ...guardedPaths]) {
    t.equal((await ask(admin, 'GET', path, { headers: { authorization: 'Basic bm9ib2R5Ong=' } })).status, 200, path)
  }
})

test('where metrics is granted, metrics and status are for its users alone, and the probes stay open', async t => {
  const { admin } = await serve(t, { auth: guarded(t, roles) })
  const statusOf = async (path: string, authorization?: string) =>
    (await ask(admin, 'GET', path, authorization === undefined ? {} : { headers: { authorization } })).status
  for (const path of probes) t.equal(await statusOf(path), 200, path)
  for (const path of guardedPaths) {
    t.equal(await statusOf(path), 401, path)
    t.equal(await statusOf(path, basicOf('prometheus')), 200, path)
    t.equal(await statusOf(path, basicOf('rw')), 403, path)
    t.equal(await statusOf(path, `Basic ${Buffer.from('prometheus:wrong').toString('base64')}`), 401, path)
    t.equal(await statusOf(path, 'Bearer x'), 401, path)
  }
  t.match((await ask(admin, 'GET', '/metrics')).headers['www-authenticate'], /^Basic realm=/)
  t.notMatch((await ask(admin, 'GET', '/metrics')).body.toString(), 'registry_')
})

test('the audit stream tells who was refused metrics, and who reads them', async t => {
  const { admin, lines } = await serve(t, { auth: guarded(t, roles) })
  await ask(admin, 'GET', '/metrics')
  await ask(admin, 'GET', '/metrics', { headers: { authorization: basicOf('ro') } })
  await ask(admin, 'GET', '/metrics', { headers: { authorization: basicOf('prometheus') } })
  const audited = lines.filter(line => line['audit'] === true)
  t.match(
    audited.find(line => line['action'] === 'challenge'),
    { actor: 'anonymous', permission: 'metrics' }
  )
  t.match(
    audited.find(line => line['action'] === 'refuse'),
    { actor: 'ro', permission: 'metrics', reason: 'DENIED' }
  )
  t.ok(audited.some(line => line['action'] === 'login' && line['actor'] === 'prometheus'))
})

test('a user of metrics may pull nothing, and anonymous metrics leave the port open', async t => {
  const { listen } = await serve(t, { auth: guarded(t, roles) })
  t.equal((await ask(listen, 'GET', '/v2/_catalog', { headers: { authorization: basicOf('prometheus') } })).status, 403)
  const open = await serve(t, { auth: { anonymous: ['metrics'] } })
  for (const path of guardedPaths) t.equal((await ask(open.admin, 'GET', path)).status, 200, path)
  t.equal((await ask(open.listen, 'GET', '/v2/_catalog')).status, 401, 'and grant no pull')
})

test('with TLS: plain HTTP is told so, the probes are open, metrics need the password', async t => {
  const pki = pkiWithServer(t)
  const served = await serve(t, { server: { adminTLS: adminTLS(pki) }, auth: guarded(t, roles) })
  t.match(await ask(served.admin, 'GET', '/livez'), { status: 400 })
  for (const path of probes) t.match(await askSecurely(served, pki, path), { status: 200 }, path)
  for (const path of guardedPaths) {
    t.match(await askSecurely(served, pki, path), { status: 401, challenge: /^Basic / }, path)
    t.match(await askSecurely(served, pki, path, { authorization: basicOf('prometheus') }), { status: 200 }, path)
  }
  const { body } = await askSecurely(served, pki, '/metrics', { authorization: basicOf('prometheus') })
  t.match(body, /^registry_certificate_expiry_timestamp_seconds\{kind="admin"\} \d+/m)
})

test('with TLS and an authority of clients, a client certificate takes the place of the password', async t => {
  const pki = pkiWithServer(t)
  pki.make('scraper', { cn: '/CN=prometheus', issuer: 'ca' }).make('stranger', { cn: '/CN=stranger', issuer: 'ca' })
  const server = { adminTLS: { ...adminTLS(pki), clientCA: pki.path('ca.crt') } }
  const served = await serve(t, { server, auth: guarded(t, roles) })
  const as = (name: string) => ({ cert: pki.read(`${name}.crt`), key: pki.read(`${name}.key`) })
  t.match(await askSecurely(served, pki, '/metrics', {}, as('scraper')), { status: 200 })
  t.match(await askSecurely(served, pki, '/metrics', {}, as('stranger')), { status: 401 })
})

test('challenges of the admin port lead to no token, also where the registry issues some', async t => {
  const key = join(folder(t), 'token.key')
  writeFileSync(key, tokenKey().pem)
  const served = await serve(t, { auth: { ...guarded(t, roles), tokens: { keys: [key] } } })
  const refused = await ask(served.admin, 'GET', '/metrics')
  t.match(refused.headers['www-authenticate'], /^Basic /)
  const authorization = basicOf('prometheus')
  const token = JSON.parse(
    (await ask(served.listen, 'GET', '/v2/token?service=registry', { headers: { authorization } })).body.toString()
  ).token
  t.equal((await ask(served.admin, 'GET', '/metrics', { headers: { authorization: `Bearer ${token}` } })).status, 401)
})

/** A directory as the kubelet mounts a Secret: the names are links through `..data`, which is swapped as a whole. */
function mounted(t: Test, files: Record<string, string | Buffer>) {
  const at = folder(t)
  let version = 0
  const swap = (changed: Record<string, string | Buffer>) => {
    version += 1
    mkdirSync(join(at, `..v${version}`))
    for (const [name, text] of Object.entries(changed)) writeFileSync(join(at, `..v${version}`, name), text)
    symlinkSync(`..v${version}`, join(at, '..data_tmp'))
    renameSync(join(at, '..data_tmp'), join(at, '..data'))
  }
  swap(files)
  for (const name of Object.keys(files)) symlinkSync(join('..data', name), join(at, name))
  return { path: (name: string) => join(at, name), swap }
}

test('a Secret that the kubelet swaps: new certificates and users count without a restart, on both ports', async t => {
  const pki = pkiWithServer(t)
  const secret = (of: string) => ({ 'tls.crt': pki.read(`${of}.crt`), 'tls.key': pki.read(`${of}.key`) })
  const certificates = mounted(t, secret('one'))
  const { users } = guarded(t, roles)
  const htpasswd = readFileSync(users['file'] as string, 'utf8')
  const accounts = mounted(t, { htpasswd })
  const files = { certificate: certificates.path('tls.crt'), key: certificates.path('tls.key') }
  const auth = { users: { file: accounts.path('htpasswd'), roles: { ...roles, scraper: ['metrics'] } } }
  const served = await serve(t, { server: { tls: files, adminTLS: files }, auth })
  const nameAt = async (address: string) => {
    const [host = '', port] = address.split(':')
    const socket = connect({ host, port: Number(port), servername: 'localhost', ca: pki.read('ca.crt') })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN
  }
  t.same([await nameAt(served.listen), await nameAt(served.admin)], ['one', 'one'])
  certificates.swap(secret('two'))
  accounts.swap({ htpasswd: htpasswd.replace(/^prometheus:/m, 'scraper:') })
  await until(async () => (await nameAt(served.listen)) === 'two' && (await nameAt(served.admin)) === 'two')
  await until(async () => (await askSecurely(served, pki, '/metrics', { authorization: basicOf('scraper') })).status === 200)
  t.match(await askSecurely(served, pki, '/metrics', { authorization: basicOf('prometheus') }), { status: 401 })
})

test('an address that other machines reach is warned of at the start, and says what to set', async t => {
  const warned = async (server: object, auth?: Record<string, unknown>) => {
    const { lines } = await serve(t, { server: { admin: '0.0.0.0:0', ...server }, ...(auth ? { auth } : {}) })
    return lines.filter(line => line.level === 40 && /server\.admin/.test(line.msg)).map(line => line.msg)
  }
  t.match(await warned({}), [/^server\.admin listens on 0\.0\.0\.0:0 and shows .*server\.adminTLS and grant a user metrics$/])
  t.match(await warned({}, guarded(t, roles)), [/without TLS.*in the clear: set server\.adminTLS$/])
  t.same(await warned({ adminTLS: adminTLS(pkiWithServer(t)) }, guarded(t, roles)), [])
  t.same(await warned({ admin: '127.0.0.1:0' }), [])
})
