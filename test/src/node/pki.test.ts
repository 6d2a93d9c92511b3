import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { hashSync } from '@node-rs/bcrypt'
import { test } from 'tap'
import { isGoodAuthority, isGoodServer } from '../../../src/node/pki/certificates.ts'
import { issueServer, makeAuthority } from '../../../src/node/pki/issue.ts'
import { prepareMaterial } from '../../../src/node/pki/material.ts'
import { authority, local, now, rootOf, wantedOf } from './scene.ts'

const day = 86_400_000
const names = ['127.0.0.1', 'localhost', '10.0.0.1', 'fd00::1', 'registry.d8-system.svc']
const users = { ro: { password: 'password-of-ro' }, rw: { password: 'password-of-rw' } }
const alone = { ...local, users, replicas: local.replicas.slice(0, 1), pki: {} }

test('pki: openssl accepts what is issued, strictly, and finds the curve, the names and no right to sign', async t => {
  const server = await issueServer('registry-distribution', names, authority, now)
  const folder = await rootOf(t)
  const files = { ca: join(folder, 'ca.crt'), server: join(folder, 'server.crt') }
  writeFileSync(files.ca, authority.certificate)
  writeFileSync(files.server, server.certificate)
  t.match(
    execFileSync('openssl', ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', files.ca, files.server], { encoding: 'utf8' }),
    /: OK/
  )
  const text = execFileSync('openssl', ['x509', '-in', files.server, '-noout', '-text'], { encoding: 'utf8' })
  t.match(text, /prime256v1/)
  t.match(text, /IP Address:127.0.0.1, DNS:localhost, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1, DNS:registry.d8-system.svc/)
  t.match(text, /CA:FALSE/)
})

test('pki: a client that trusts the authority alone reaches a server with the certificate', async t => {
  const { certificate, key } = await issueServer('registry-agent', names, authority, now)
  const server = createServer({ cert: certificate, key }, (_, response) => response.end('yes')).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const asked = get({ host: '127.0.0.1', port, ca: authority.certificate, agent: false })
  const [response] = await once(asked, 'response')
  t.equal(response.statusCode, 200)
  response.destroy()
})

test('pki: a certificate is replaced when two thirds of its life are over, and not before', async t => {
  const pair = await issueServer('x', names, authority, now)
  const authorities = [new X509Certificate(authority.certificate)]
  const good = (at: number, more: Partial<Parameters<typeof isGoodServer>[1]> = {}) =>
    isGoodServer(pair, { names, authorities, now: at, ...more })
  t.ok(good(now))
  t.ok(good(now + 243 * day))
  t.notOk(good(now + 244 * day))
  t.notOk(good(now, { names: [...names, '10.0.0.2'] }), 'nor for an address that it does not name')
  const other = await makeAuthority('registry-ca', now)
  t.notOk(good(now, { authorities: [new X509Certificate(other.certificate)] }), 'nor after the authority has changed, whatever its name')
  t.notOk(isGoodServer({ ...pair, key: other.key }, { names, authorities, now }), "nor with another's key")
  t.notOk(isGoodServer({ ...pair, certificate: 'half a certif' }, { names, authorities, now }), 'nor a damaged one')
  t.ok(isGoodAuthority(other, now + 2432 * day))
  t.notOk(isGoodAuthority(other, now + 2434 * day))
})

test('pki: an authority made by RSA issues as well, and a key of another kind is named', async t => {
  const folder = await rootOf(t)
  const [key, certificate] = [join(folder, 'ca.key'), join(folder, 'ca.crt')]
  const subject = ['-subj', '/CN=registry-ca', '-addext', 'basicConstraints=critical,CA:TRUE', '-days', '30']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, ...subject], {
    stdio: 'pipe'
  })
  const text = (file: string) => execFileSync('cat', [file], { encoding: 'utf8' })
  const rsa = { certificate: text(certificate), key: text(key) }
  const pair = await issueServer('x', names, rsa, now)
  t.ok(isGoodServer(pair, { names, authorities: [new X509Certificate(rsa.certificate)], now }))
  t.ok(
    new X509Certificate(pair.certificate).validToDate <= new X509Certificate(rsa.certificate).validToDate,
    'for no longer than its authority'
  )
})

test('pki: what is good is kept, so that a second apply has nothing to write', async t => {
  const wanted = wantedOf(alone)
  const first = await prepareMaterial(wanted, {}, now)
  const htpasswd = [...first.hashes].map(([user, hash]) => `${user}:${hash}\n`).join('')
  t.same(await prepareMaterial(wanted, { ...first, htpasswd }, now), first)
})

test('pki: a new authority of the agent is trusted beside the old one', async t => {
  const wanted = wantedOf(alone)
  const first = await prepareMaterial(wanted, {}, now)
  const later = await prepareMaterial(wanted, first, now + 3000 * day)
  t.ok(later.agentCa.includes(first.agentCa), 'the old one stays in the bundle')
  t.not(later.agentCa, first.agentCa)
  t.ok(
    later.agent &&
      isGoodServer(later.agent, { names: ['127.0.0.1'], authorities: [new X509Certificate(later.agentCa)], now: now + 3000 * day })
  )
  const last = await prepareMaterial(wanted, later, now + 3700 * day)
  t.notOk(last.agentCa.includes(first.agentCa), 'until it has expired')
})

test('pki: a lost key of an authority costs no node its trust', async t => {
  const wanted = wantedOf(alone)
  const first = await prepareMaterial(wanted, {}, now)
  const { agentAuthority } = first
  if (!agentAuthority) return t.fail('there is an agent')
  const again = await prepareMaterial(wanted, { ...first, agentAuthority: { ...agentAuthority, key: '' } }, now)
  t.ok(again.agentCa.includes(agentAuthority.certificate))
  return t.not(again.agent?.certificate, first.agent?.certificate)
})

test('users: a bcrypt string stays as long as it fits, and changes with the password', async t => {
  const kept = hashSync('password-of-ro', 4)
  const htpasswd = `ro:${kept}\nrw:${hashSync('another', 4)}\n`
  const { hashes } = await prepareMaterial(wantedOf({ ...local, users }), { htpasswd }, now)
  t.equal(hashes.get('ro'), kept)
  t.notOk(htpasswd.includes(hashes.get('rw') ?? ''))
  const given = `$2b$10$${'g'.repeat(53)}`
  const more = { ...users, rw: { password: 'x', passwordHash: given } }
  t.equal((await prepareMaterial(wantedOf({ ...local, users: more }), { htpasswd: 'damaged' }, now)).hashes.get('rw'), given)
})
