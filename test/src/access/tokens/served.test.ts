// Service accounts in a running registry: keys from files, and from an issuer that is asked over TLS.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { certificate } from '../../../support/certificate.ts'
import { type TokenKey, tokenKey } from '../../../support/tokens.ts'
import { ask, codeOf, folder, pushImage, serve, until } from '../../support.ts'

const accounts = {
  issuers: ['https://issuer.test', 'https://former.test'],
  audience: 'registry',
  roles: { 'system:serviceaccount:d8-*:builder': ['push', { pull: 'team/**' }] }
}

function tokenOf(key: TokenKey, more: Record<string, unknown> = {}): string {
  const seconds = Math.floor(Date.now() / 1000)
  const sub = 'system:serviceaccount:d8-ci:builder'
  return key.token({ iss: 'https://former.test', aud: ['registry'], sub, iat: seconds, exp: seconds + 600, ...more })
}

const basicOf = (token: string) => `Basic ${Buffer.from(`serviceaccount:${token}`).toString('base64')}`

test('served service accounts: a token pushes and pulls by Bearer and by Basic, within its roles, beside no other users', async t => {
  const [key, stranger] = [tokenKey('RS256'), tokenKey('RS256')]
  const file = join(folder(t), 'sa.pub')
  writeFileSync(file, key.publicPem)
  const served = await serve(t, { auth: { serviceAccounts: { ...accounts, keys: [file] } } })
  const [bearer, basic] = [`Bearer ${tokenOf(key)}`, basicOf(tokenOf(key))]
  await pushImage(served, 'team/a', 'v1', {}, { authorization: bearer })
  await pushImage(served, 'team/b', 'v1', {}, { authorization: basic })
  const get = async (path: string, authorization?: string) => {
    const answer = await ask(served.listen, 'GET', path, { headers: authorization === undefined ? {} : { authorization } })
    return answer.status < 400 ? answer.status : codeOf(answer)
  }
  const manifest = '/v2/team/a/manifests/v1'
  t.strictSame([await get(manifest, bearer), await get(manifest, basic), await get(manifest)], [200, 200, 'UNAUTHORIZED'])
  t.strictSame([await get('/v2/', basic), await get('/v2/')], [200, 'UNAUTHORIZED'])
  t.equal(await get('/v2/other/manifests/v1', bearer), 'DENIED')
  t.equal(await get(manifest, basicOf(tokenOf(stranger))), 'UNAUTHORIZED')
  t.equal(await get('/v2/token', basic), 'UNSUPPORTED', 'no tokens are issued')
})

test('served service accounts: keys come from a URL, and a start does not wait for it', async t => {
  const key = tokenKey()
  const { cert, key: privateKey } = certificate(t)
  const door = Promise.withResolvers<void>()
  const issuer = createServer({ cert, key: privateKey }, async (_request, response) => {
    await door.promise
    response.end(JSON.stringify({ keys: [key.jwk] }))
  })
  issuer.listen(0, '127.0.0.1')
  await once(issuer, 'listening')
  t.teardown(() => issuer.closeAllConnections())
  t.teardown(() => void issuer.close())
  const served = await startWith(t, `https://127.0.0.1:${(issuer.address() as AddressInfo).port}/keys`, cert)
  const pull = async () =>
    codeOf(await ask(served.listen, 'GET', '/v2/team/a/manifests/v1', { headers: { authorization: `Bearer ${tokenOf(key)}` } }))
  t.equal(await pull(), 'UNAUTHORIZED')
  door.resolve()
  await until(() => served.logged('the keys of the issuer of service account tokens were read').length > 0)
  t.equal(await pull(), 'NAME_UNKNOWN')
})

function startWith(t: Test, keysURL: string, authority: string) {
  const ca = join(folder(t), 'ca.crt')
  writeFileSync(ca, authority)
  return serve(t, { auth: { serviceAccounts: { ...accounts, keysURL, ca } } })
}
