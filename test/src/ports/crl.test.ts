// The report: a certificate whose key was stolen counted until it ended, since nothing could take it back. The attack
// after that: a session or a connection that was opened before goes on.

import { once } from 'node:events'
import { cpSync, writeFileSync } from 'node:fs'
import { connect } from 'node:tls'
import { type Test, test } from 'tap'
import { parseRevocationLists } from '../../../src/ports/crl.ts'
import { type Pki, pkiWithServer, serve, talk, talkAs } from './tls-scene.ts'

const files = { clientCA: 'clients.crt', clientCRL: 'clients.crl' }

/** An authority of clients, two of them, and an empty list. */
function pkiWithClients(t: Test): Pki {
  const pki = pkiWithServer(t).make('clients', { cn: '/CN=clients CA', ca: 'ca' })
  for (const name of ['good', 'stolen']) pki.make(name, { cn: `/CN=${name}`, issuer: 'clients' })
  return pki.revoke('clients.crl', 'clients', [])
}

test('crl: a revoked certificate ends the connection, others and none do not', async t => {
  const pki = pkiWithClients(t).revoke('clients.crl', 'clients', ['stolen'])
  const { target, events } = await serve(t, pki, files)
  t.strictSame([await talkAs(pki, target, 'stolen'), await talkAs(pki, target, 'good')], ['closed', 'answered'])
  await talk(target)
  t.match(events.refused, [{ claimed: 'stolen', reason: 'CERT_REVOKED' }])
  t.strictSame(events.names, ['good', undefined])
})

for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
  test(`crl: a list that comes later ends open connections and sessions of those that it names (${maxVersion})`, async t => {
    const pki = pkiWithClients(t)
    const { target, events, reload, tls } = await serve(t, pki, files)
    const pair = (name: string) => ({ cert: pki.read(`${name}.crt`), key: pki.read(`${name}.key`) })
    const first = await talk({ ...target, maxVersion, ...pair('stolen') })
    const open = await Promise.all(
      ['stolen', 'good'].map(async name => {
        const socket = connect({ ...target, maxVersion, ...pair(name) }).on('error', () => {})
        await once(socket, 'secureConnect')
        socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        await once(socket, 'data')
        socket.resume()
        return socket
      })
    )
    const [stolen, good] = open
    if (!stolen || !good) throw new Error('there are no connections')
    const ended = once(stolen, 'close')
    pki.revoke('clients.crl', 'clients', ['stolen'])
    await reload()
    await ended
    t.match(events.refused, [{ claimed: 'stolen', reason: 'CERT_REVOKED' }])
    t.notOk(good.destroyed)
    good.destroy()
    const second = await talk({ ...target, maxVersion, session: first.session })
    t.notOk(second.reused)
    t.equal(events.names.at(-1), undefined)
    t.ok((tls.expiry.client_crl?.getTime() ?? 0) > Date.now())
  })
}

const broken: [string, (pki: Pki) => void, RegExp][] = [
  ['nothing', pki => writeFileSync(pki.path('clients.crl'), ''), /tls clientCRL: it holds no X509 CRL/],
  ['a certificate', pki => cpSync(pki.path('good.crt'), pki.path('clients.crl')), /tls clientCRL: it holds no X509 CRL/],
  [
    'half a list',
    pki => writeFileSync(pki.path('clients.crl'), pki.read('clients.crl').subarray(0, 200)),
    /tls clientCRL: it holds no X509 CRL/
  ],
  [
    'a list and half a list',
    pki => writeFileSync(pki.path('clients.crl'), Buffer.concat([pki.read('clients.crl'), pki.read('clients.crl').subarray(0, 200)])),
    /tls clientCRL: it is truncated/
  ],
  [
    'a damaged list',
    pki => writeFileSync(pki.path('clients.crl'), '-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n'),
    /tls clientCRL: it is damaged/
  ],
  ['the list of another authority', pki => void pki.revoke('clients.crl', 'ca', []), /tls clientCRL: it holds no list of CN=clients CA/],
  ['an ended list', pki => void pki.revoke('clients.crl', 'clients', [], -1), /tls clientCRL: it ended at/]
]
for (const [what, damage, message] of broken) {
  test(`crl: ${what} is reported and the former list stays in use`, async t => {
    const pki = pkiWithClients(t).revoke('clients.crl', 'clients', ['stolen'])
    const { target, events, reload } = await serve(t, pki, files)
    damage(pki)
    await reload()
    t.match(events.faults, [message])
    t.strictSame([await talkAs(pki, target, 'stolen'), await talkAs(pki, target, 'good'), events.reloads], ['closed', 'answered', 0])
  })
}

test('crl: a start with an unusable list fails, and one with an ended list refuses all certificates and serves the rest', async t => {
  const pki = pkiWithClients(t).revoke('clients.crl', 'clients', [], -1)
  const { target, events } = await serve(t, pki, files)
  t.match(events.faults, [/tls clientCRL: it ended at/])
  t.equal(await talkAs(pki, target, 'good'), 'closed')
  t.match(events.refused, [{ reason: 'CRL_HAS_EXPIRED' }])
  await talk(target)
  writeFileSync(pki.path('clients.crl'), 'nothing')
  await t.rejects(serve(t, pki, files), /tls clientCRL: it holds no X509 CRL/)
})

test('crl: a list that another key signed refuses all certificates of its authority', async t => {
  const pki = pkiWithClients(t).make('forger', { cn: '/CN=clients CA', ca: 'ca' }).revoke('clients.crl', 'forger', [])
  const { target, events } = await serve(t, pki, files)
  t.equal(await talkAs(pki, target, 'good'), 'closed')
  t.match(events.refused, [{ reason: 'CRL_SIGNATURE_FAILURE' }])
})

test('crl: several authorities have a list each', async t => {
  const pki = pkiWithClients(t).make('more', { cn: '/CN=more CA', ca: 'ca' }).revoke('more.crl', 'more', [])
  pki.make('late', { cn: '/CN=late', issuer: 'more' }).revoke('more.crl', 'more', ['late']).revoke('clients.crl', 'clients', ['stolen'])
  writeFileSync(pki.path('clients.crt'), Buffer.concat([pki.read('clients.crt'), pki.read('more.crt')]))
  writeFileSync(pki.path('clients.crl'), Buffer.concat([pki.read('clients.crl'), pki.read('more.crl')]))
  const { target } = await serve(t, pki, files)
  t.strictSame(
    [await talkAs(pki, target, 'stolen'), await talkAs(pki, target, 'late'), await talkAs(pki, target, 'good')],
    ['closed', 'closed', 'answered']
  )
})

test('crl: bytes that are no list are an error, whatever they are', async t => {
  const pki = pkiWithClients(t)
  const der = Buffer.from(
    pki
      .read('clients.crl')
      .toString()
      .replace(/-----[^-]+-----|\s/g, ''),
    'base64'
  )
  const pem = (bytes: Buffer) => Buffer.from(`-----BEGIN X509 CRL-----\n${bytes.toString('base64')}\n-----END X509 CRL-----\n`)
  t.equal(parseRevocationLists(pem(der)).length, 1)
  for (let length = 0; length < der.length; length++)
    t.throws(() => parseRevocationLists(pem(der.subarray(0, length))), Error, `${length} bytes`)
  for (let at = 0; at < 40; at++) {
    const changed = Buffer.from(der)
    changed[at] = 0xff
    try {
      parseRevocationLists(pem(changed))
    } catch (error) {
      t.ok(error instanceof Error)
    }
  }
})
