import { test } from 'tap'
import { loaded, refused } from './written.ts'

const users = 'users: { file: u }'
const accounts = 'issuers: ["https://i.test"], audience: registry'

test('tokens: the least that has to be written, and what it means', async t => {
  const { auth } = loaded(t, `auth: { ${users}, tokens: { keys: [token.key] }, serviceAccounts: { ${accounts}, keys: [/sa.pub] } }`)
  t.match(auth.tokens, { keys: [/\/token\.key$/], service: 'registry', lifetime: 900_000, realm: undefined })
  t.match(auth.serviceAccounts, { keys: ['/sa.pub'], user: 'serviceaccount', refresh: 600_000, roles: {} })
})

test('tokens: bad values are refused', async t => {
  const faults = (tokens: string) => refused(t, `auth: { ${users}, tokens: { ${tokens} } }`).map(each => each.replace(/: .*/, ''))
  t.same(faults('lifetime: 5m'), ['1 auth.tokens.keys'])
  t.same(faults('keys: []'), ['1 auth.tokens.keys'])
  t.same(faults('keys: [a, a]'), ['1 auth.tokens.keys'])
  t.same(faults('keys: [a, b, c, d, e, f, g, h, i]'), ['1 auth.tokens.keys'])
  for (const lifetime of ['59s', '61m', '-1m', '0', 'keep'])
    t.same(faults(`keys: [a], lifetime: ${lifetime}`), ['1 auth.tokens.lifetime'], lifetime)
  for (const service of ['""', '"a b"', "'a\"b'", '"-a"'])
    t.same(faults(`keys: [a], service: ${service}`), ['1 auth.tokens.service'], service)
  for (const realm of [
    'registry/v2/token',
    'https://r/v2/tokens',
    "'https://r\"/v2/token'",
    'https://u@r/v2/token',
    'https://r/a/v2/token'
  ])
    t.same(faults(`keys: [a], realm: ${realm}`), ['1 auth.tokens.realm'], realm)
})

test('tokens: without users and service accounts there is nothing to exchange', async t => {
  t.match(refused(t, 'auth: { tokens: { keys: [a] } }'), [/auth\.tokens: auth\.users or auth\.serviceAccounts beside it/])
})

test('service accounts: bad values, and settings that exclude each other, are refused', async t => {
  const faults = (more: string) =>
    refused(t, `auth: { serviceAccounts: { ${more} } }`).map(each => each.replace(/^1 auth\.serviceAccounts\.?([^:]*): .*/, '$1'))
  t.same(faults('audience: a, keys: [k]'), ['issuers'])
  t.same(faults('issuers: ["https://i"], keys: [k]'), ['audience'])
  t.same(faults(accounts), [''])
  t.same(faults(`${accounts}, keys: [k], keysURL: "https://i/k"`), [''])
  t.same(faults(`${accounts}, keys: [k], ca: c, token: t`), ['ca', 'token'])
  for (const url of ['http://i/k', 'https://u:p@i/k', 'file:///k']) t.same(faults(`${accounts}, keysURL: "${url}"`), ['keysURL'], url)
  t.same(faults(`${accounts}, keys: [k], user: "a:b"`), ['user'])
  t.same(faults(`${accounts}, keys: [k], audience: "a b"`).length, 1)
  t.same(faults(`${accounts}, keys: [k], refresh: 1s`), ['refresh'])
  t.match(refused(t, `auth: { users: { file: u, roles: { x: [pull] } }, serviceAccounts: { ${accounts}, keys: [k], user: x } }`), [
    /auth\.serviceAccounts\.user: a name that no user in auth\.users\.roles has/
  ])
})

test('a revocation list is refused without the authorities of client certificates', async t => {
  t.match(refused(t, 'server: { tls: { certificate: c, key: k, clientCRL: r } }'), [
    /server\.tls\.clientCRL: server\.tls\.clientCA beside it/
  ])
})
