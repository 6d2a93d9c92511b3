import { test } from 'tap'
import { isLoopback } from '../../config/values/loopback.ts'
import { loaded, refused } from './written.ts'

const written = 'a loopback address or an auth section (being open must be written down: auth: { anonymous: [pull] })'

test('listening beyond loopback without an auth section is refused', async t => {
  for (const listen of ['0.0.0.0:5001', '[::]:5001', '10.0.0.1:5001', 'node-1:5001', '128.0.0.1:5001']) {
    t.same(refused(t, `log: { level: info }\nserver:\n  listen: "${listen}"`), [`3 server.listen: ${written}`], listen)
  }
})

test('listening beyond loopback is accepted when the auth section says who may do what', async t => {
  t.same(loaded(t, 'server: { listen: 0.0.0.0:5001 }\nauth: { anonymous: [pull] }').auth, { anonymous: ['pull'] })
})

test('every loopback address may be open', async t => {
  for (const listen of ['127.0.0.1:5001', '127.8.9.10:5001', '[::1]:5001', 'localhost:5001']) {
    t.same(loaded(t, `server: { listen: "${listen}" }`).auth.anonymous, ['pull', 'push', 'delete'], listen)
  }
})

test('a name that only begins like loopback is not loopback', async t => {
  for (const host of ['127.example.org', 'localhost.example.org', '::', '::2', '12.7.0.1']) t.notOk(isLoopback(host), host)
  for (const host of ['0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'LOCALHOST']) t.ok(isLoopback(host), host)
})

test('the registry port and the admin port may not be the same', async t => {
  t.same(refused(t, 'server:\n  listen: 127.0.0.1:5002'), ['1 server.admin: another address than server.listen'])
})

test('an admin port with TLS beyond loopback demands that metrics be granted: it did not exist before, so nothing breaks', async t => {
  const tls = 'adminTLS: { certificate: c, key: k }'
  const auth = (granted: string) => `auth: { users: { file: h, roles: { p: [${granted}] } } }`
  const expected =
    'a loopback address, or a user with the permission metrics in auth (open to all must be written down: auth: { anonymous: [metrics] })'
  t.same(refused(t, `${auth('pull')}\nserver: { admin: "10.0.0.1:5002", ${tls} }`), [`2 server.admin: ${expected}`])
  t.ok(loaded(t, `${auth('metrics')}\nserver: { admin: "10.0.0.1:5002", ${tls} }`))
  t.ok(loaded(t, `auth: { anonymous: [metrics] }\nserver: { admin: "10.0.0.1:5002", ${tls} }`))
  t.ok(loaded(t, `server: { ${tls} }`), 'on loopback')
  t.ok(loaded(t, 'server: { admin: "10.0.0.1:5002" }'), 'as in version 0.1.0')
})

test('forwarders without an authority for client certificates are refused: no client could be one', async t => {
  const expected = 'server.tls.clientCA beside it: without one no client certificate is verified'
  t.same(refused(t, 'server:\n  forwarders: [lb]'), [`2 server.forwarders: ${expected}`])
  const { forwarders } = loaded(t, 'server: { forwarders: [lb], tls: { certificate: c, key: k, clientCA: a } }').server
  t.same(forwarders, ['lb'])
})

test('a control socket whose path does not fit a Unix socket is refused', async t => {
  const expected = 'a path of at most 107 bytes, the limit of Unix sockets'
  t.same(refused(t, `server:\n  control: /${'x'.repeat(107)}`), [`2 server.control: ${expected}`])
  t.equal(loaded(t, `server: { control: /${'x'.repeat(106)} }`).server.control.length, 107)
})
