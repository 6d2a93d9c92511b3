import { once } from 'node:events'
import { cpSync, writeFileSync } from 'node:fs'
import { createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import { connect, type SecureVersion, type TLSSocket } from 'node:tls'
import { test } from 'tap'
import { certificateName } from '../../../src/ports/tls.ts'
import { body, type Pki, pkiWithServer, serve, talk, talkAs } from './tls-scene.ts'

test('tls: AES-128-GCM is chosen even where the client prefers another, in TLS 1.3 and 1.2', async t => {
  const { target } = await serve(t, pkiWithServer(t))
  const strong = 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'
  const older = 'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256'
  for (const [version, ciphers, chosen] of [
    ['TLSv1.3', strong, 'TLS_AES_128_GCM_SHA256'],
    ['TLSv1.2', older, 'ECDHE-ECDSA-AES128-GCM-SHA256']
  ] as const) {
    const socket = connect({ ...target, ciphers, maxVersion: version })
    await once(socket, 'secureConnect')
    t.strictSame([socket.getProtocol(), socket.getCipher().name], [version, chosen])
    socket.destroy()
  }
})

test('tls: TLS 1.1 is refused', async t => {
  const { target } = await serve(t, pkiWithServer(t))
  const old: SecureVersion = 'TLSv1.1'
  const socket = connect({ ...target, minVersion: old, maxVersion: old, ciphers: 'DEFAULT:@SECLEVEL=0' })
  await t.rejects(once(socket, 'secureConnect'), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })
})

test('tls: a transfer that runs while the certificate changes is completed, and new connections see the new one', async t => {
  const pki = pkiWithServer(t)
  const { target, events, reload } = await serve(t, pki)
  const [response] = await once(get({ ...target, path: '/', agent: false }), 'response')
  pki.install('two', 'server')
  await reload()
  t.equal(events.reloads, 1)
  t.equal((await talk(target)).server, 'two')
  t.ok((await buffer(response)).equals(body))
})

const broken: [string, (pki: Pki) => void, RegExp][] = [
  ['a key of another certificate', pki => cpSync(pki.path('two.key'), pki.path('server.key')), /tls key: it does not belong/],
  ['a certificate of another key', pki => cpSync(pki.path('two.crt'), pki.path('server.crt')), /tls key: it does not belong/],
  [
    'a certificate cut in the middle',
    pki => writeFileSync(pki.path('server.crt'), pki.read('two.crt').subarray(0, 300)),
    /tls certificate: it is truncated/
  ],
  [
    'garbage in PEM form',
    pki => writeFileSync(pki.path('server.crt'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    /tls certificate: /
  ],
  ['an empty certificate', pki => writeFileSync(pki.path('server.crt'), ''), /tls certificate: it holds no certificate/],
  ['an empty key', pki => writeFileSync(pki.path('server.key'), ''), /tls key: /],
  ['a broken client CA', pki => writeFileSync(pki.path('clients.crt'), 'nothing'), /tls clientCA: it holds no certificate/]
]
for (const [what, damage, message] of broken) {
  test(`tls: ${what} is reported and the old files stay in use`, async t => {
    const pki = pkiWithServer(t).make('clients', { cn: '/CN=clients CA', ca: 'ca' })
    const { target, events, reload } = await serve(t, pki, { clientCA: 'clients.crt' })
    damage(pki)
    await reload()
    t.equal(events.faults.length, 1)
    t.match(events.faults[0], message)
    t.notMatch(events.faults[0], /PRIVATE/)
    t.equal((await talk(target)).server, 'one')
    t.equal(events.reloads, 0)
  })
}

test('tls: a pair of which only one half has arrived is taken when the other has', async t => {
  const pki = pkiWithServer(t)
  const { target, events, reload } = await serve(t, pki)
  cpSync(pki.path('two.crt'), pki.path('server.crt'))
  await reload()
  cpSync(pki.path('two.key'), pki.path('server.key'))
  await reload()
  t.strictSame([events.faults.length, events.reloads], [1, 1])
  t.equal((await talk(target)).server, 'two')
})

test('tls: it does not start with a key that does not belong to the certificate', async t => {
  const pki = pkiWithServer(t)
  cpSync(pki.path('two.key'), pki.path('server.key'))
  await t.rejects(serve(t, pki), /tls key: it does not belong to the certificate/)
})

test('tls: a new certificate outside its dates does not displace one within, but is better than none', async t => {
  const pki = pkiWithServer(t).make('brief', { cn: '/CN=brief', issuer: 'ca', days: 2 })
  const afterBrief = Date.now() + 5 * 86_400_000
  const { target, events, reload } = await serve(t, pki, { now: () => afterBrief })
  pki.install('brief', 'server')
  await reload()
  t.match(events.faults, [/tls certificate: it ended at/])
  t.equal((await talk(target)).server, 'one')
  const started = await serve(t, pki, { now: () => afterBrief })
  t.match(started.events.faults, [/tls certificate: it ended at/])
  t.equal((await talk(started.target)).server, 'brief')
})

test('tls: the expiry of the server and of the client CA is the earliest in each file, and follows a reload', async t => {
  const pki = pkiWithServer(t)
  pki.make('long', { cn: '/CN=long', ca: 'ca', days: 90 }).make('short', { cn: '/CN=short', ca: 'ca', days: 3 })
  writeFileSync(pki.path('clients.crt'), Buffer.concat([pki.read('long.crt'), pki.read('short.crt')]))
  const { tls, reload } = await serve(t, pki, { clientCA: 'clients.crt' })
  const inDays = (date: Date | undefined): number => Math.round(((date?.getTime() ?? 0) - Date.now()) / 86_400_000)
  t.strictSame([inDays(tls.expiry.server), inDays(tls.expiry.client_ca)], [30, 3])
  cpSync(pki.path('long.crt'), pki.path('clients.crt'))
  await reload()
  t.equal(inDays(tls.expiry.client_ca), 90)
})

for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
  test(`tls: a session is resumed, also after the certificate has changed (${maxVersion})`, async t => {
    const pki = pkiWithServer(t)
    const { target, reload } = await serve(t, pki)
    const first = await talk({ ...target, maxVersion })
    t.notOk(first.reused)
    const second = await talk({ ...target, maxVersion, session: first.session })
    t.ok(second.reused)
    pki.install('two', 'server')
    await reload()
    t.equal((await talk({ ...target, maxVersion })).server, 'two')
    t.ok((await talk({ ...target, maxVersion, session: first.session })).reused)
  })

  test(`tls: a resumed session keeps the client's verified name, and ends with the CA that verified it (${maxVersion})`, async t => {
    const pki = pkiWithServer(t).make('clients', { cn: '/CN=clients CA', ca: 'ca' }).make('others', { cn: '/CN=others', ca: 'ca' })
    pki.make('node', { cn: '/CN=node-1', issuer: 'clients' })
    const { target, events, reload } = await serve(t, pki, { clientCA: 'clients.crt' })
    const first = await talk({ ...target, maxVersion, cert: pki.read('node.crt'), key: pki.read('node.key') })
    const second = await talk({ ...target, maxVersion, session: first.session })
    t.ok(second.reused)
    t.strictSame(events.names, ['node-1', 'node-1'])
    cpSync(pki.path('others.crt'), pki.path('clients.crt'))
    await reload()
    const third = await talk({ ...target, maxVersion, session: first.session })
    t.notOk(third.reused)
    t.equal(events.names.at(-1), undefined)
  })
}

test('tls: a client without a certificate is served and has no name', async t => {
  const { target, events } = await serve(t, pkiWithServer(t), { clientCA: 'ca.crt' })
  await talk(target)
  t.strictSame([events.names, events.refused], [[undefined], []])
})

test('tls: a client certificate that does not verify ends the connection before a request is answered', async t => {
  const pki = pkiWithServer(t).make('clients', { cn: '/CN=clients CA', ca: 'ca' })
  pki.make('stranger', { cn: '/CN=node-1' }).make('node', { cn: '/CN=node-1', issuer: 'clients' })
  const { target, events } = await serve(t, pki, { clientCA: 'clients.crt' })
  t.equal(await talkAs(pki, target, 'stranger'), 'closed')
  t.match(events.refused, [{ address: '127.0.0.1', claimed: 'node-1', reason: /.+/ }])
  t.strictSame(events.names, [])
  t.equal(await talkAs(pki, target, 'node'), 'answered')
  t.strictSame(events.names, ['node-1'])
})

test('tls: an expired client certificate ends the connection', async t => {
  const pki = pkiWithServer(t).make('node', { cn: '/CN=node-1', ca: 'ca' }).expire('node')
  const { target, events } = await serve(t, pki, { clientCA: 'node.crt' })
  t.equal(await talkAs(pki, target, 'node'), 'closed')
  t.match(events.refused, [{ reason: /EXPIRED/ }])
})

test('tls: without a client CA no client certificate is requested, and a presented one gives no name', async t => {
  const pki = pkiWithServer(t).make('node', { cn: '/CN=node-1', issuer: 'ca' })
  const { target, events } = await serve(t, pki)
  t.equal(await talkAs(pki, target, 'node'), 'answered')
  t.strictSame([events.names, events.refused], [[undefined], []])
})

test('tls: the trusted name on an intermediate certificate is not the name of the client', async t => {
  const pki = pkiWithServer(t).make('clients', { cn: '/CN=clients CA', ca: 'ca' })
  pki.make('proxy', { cn: '/CN=trusted-proxy', issuer: 'clients', ca: 'ca' }).make('leaf', { cn: '/CN=client-7', issuer: 'proxy' })
  const { target, events } = await serve(t, pki, { clientCA: 'clients.crt' })
  writeFileSync(pki.path('chain.crt'), Buffer.concat([pki.read('leaf.crt'), pki.read('proxy.crt')]))
  cpSync(pki.path('leaf.key'), pki.path('chain.key'))
  t.equal(await talkAs(pki, target, 'chain'), 'answered')
  t.strictSame(events.names, ['client-7'])
})

test('tls: a certificate with several common names, or none, gives no name', async t => {
  const pki = pkiWithServer(t).make('both', { cn: '/CN=admin/CN=node-1', issuer: 'ca' }).make('none', { cn: '/O=nobody', issuer: 'ca' })
  const { target, events } = await serve(t, pki, { clientCA: 'ca.crt' })
  t.equal(await talkAs(pki, target, 'both'), 'answered')
  t.equal(await talkAs(pki, target, 'none'), 'answered')
  t.strictSame(events.names, [undefined, undefined])
})

test('tls: a client cannot renegotiate, and so not change its certificate in the middle of a connection', async t => {
  const { target } = await serve(t, pkiWithServer(t), { clientCA: 'ca.crt' })
  const socket = connect({ ...target, maxVersion: 'TLSv1.2' })
  await once(socket, 'secureConnect')
  const [error] = await new Promise<[unknown]>(resolve => {
    socket.once('error', error => resolve([error]))
    socket.renegotiate({}, error => resolve([error]))
  })
  socket.destroy()
  t.match(error, { code: 'ERR_SSL_NO_RENEGOTIATION' })
})

test('tls: a socket whose certificate was not verified has no name, even if it was not closed', async t => {
  const pki = pkiWithServer(t).make('stranger', { cn: '/CN=node-1' })
  const options = { cert: pki.read('server.crt'), key: pki.read('server.key'), ca: pki.read('ca.crt'), requestCert: true }
  const server = createServer({ ...options, rejectUnauthorized: false }, (request, response) => {
    const claimed = (request.socket as TLSSocket).getPeerCertificate().subject.CN
    response.end(JSON.stringify([claimed, certificateName(request.socket) ?? 'none']))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const client = { cert: pki.read('stranger.crt'), key: pki.read('stranger.key'), ca: pki.read('ca.crt'), servername: 'localhost' }
  const [response] = await once(get({ host: '127.0.0.1', port, agent: false, ...client }), 'response')
  t.equal(await text(response), '["node-1","none"]')
})
