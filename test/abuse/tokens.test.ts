// The attack: tokens that this registry did not issue, issued for something else, or issued to a user that is gone;
// tokens made to be expensive; requests for tokens that ask for more than they say. None is more than its user may do
// now, and less where it was issued for less.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hashSync } from '@node-rs/bcrypt'
import { type Test, test } from 'tap'
import { type Answer, ask, basicOf, codeOf, folder, guarded, pushImage, type Served, serve, until } from '../src/support.ts'
import { encode, hmacToken, partOf, type TokenKey, tokenKey } from '../support/tokens.ts'

const now = () => Math.floor(Date.now() / 1000)
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const as = (user: string) => ({ headers: { authorization: basicOf(user) } })
const claimsOf = (more: Record<string, unknown> = {}) => ({
  iss: 'registry',
  aud: 'registry',
  iat: now(),
  nbf: now(),
  exp: now() + 300,
  access: [{ type: 'repository', name: 'a', actions: ['pull', 'push', 'delete'] }],
  ...more
})

interface Scene {
  served: Served
  key: TokenKey
  users: string
  keyFile: string
}

async function setUp(t: Test, more: { anonymous?: unknown[]; roles?: Parameters<typeof guarded>[1] } = {}): Promise<Scene> {
  const key = tokenKey()
  const keyFile = join(folder(t), 'token.key')
  writeFileSync(keyFile, key.pem)
  const auth = guarded(t, more.roles ?? { ro: ['pull'], rw: ['pull', 'push', 'delete'], ci: [{ pull: 'a/**', push: 'a/*' }] })
  const served = await serve(t, { auth: { ...auth, anonymous: more.anonymous ?? [], tokens: { keys: [keyFile] } } })
  for (const name of ['a', 'b', 'a/b']) await pushImage(served, name, 'v1', {}, { authorization: basicOf('rw') })
  return { served, key, keyFile, users: String(auth.users['file']) }
}

/** Asks for a token with these scopes. */
async function request({ listen }: Served, user: string | undefined, ...scopes: string[]): Promise<Answer> {
  const query = new URLSearchParams([['service', 'registry'], ...scopes.map((scope): [string, string] => ['scope', scope])])
  return await ask(listen, 'GET', `/v2/token?${query}`, user === undefined ? {} : as(user))
}

async function tokenOf(served: Served, user: string | undefined, ...scopes: string[]): Promise<string> {
  return JSON.parse((await request(served, user, ...scopes)).body.toString()).token
}

const detailOf = ({ body }: Answer): unknown => JSON.parse(body.toString()).errors[0].detail
const manifest = (name: string) => `/v2/${name}/manifests/v1`
const outcome = (answer: Answer) => (answer.status < 400 ? answer.status : `${answer.status} ${codeOf(answer)}`)
const pull = async ({ listen }: Served, name: string, token: string) => outcome(await ask(listen, 'GET', manifest(name), bearer(token)))

test('tokens: what was not signed by a key of this registry, for it and for now is refused with invalid_token', async t => {
  const { served, key } = await setUp(t)
  const other = tokenKey()
  const sub = { sub: 'rw' }
  const good = await tokenOf(served, 'rw', 'repository:a:pull')
  const [head = '', payload = '', signature = ''] = good.split('.')
  const issued = { ...claimsOf(), ...partOf(good, 1) }
  const forged: Record<string, string> = {
    'another key': other.token(issued),
    "another key under this one's id": other.token(issued, { kid: key.id }),
    'no id of a key': key.token(issued, { kid: undefined }),
    'alg none': `${encode({ alg: 'none', kid: key.id })}.${payload}.`,
    'alg None': `${encode({ alg: 'None', kid: key.id })}.${payload}.${signature}`,
    'HS256 with the public key': hmacToken(key.publicPem, issued, { kid: key.id }),
    'HS256 with the public key, trimmed': hmacToken(key.publicPem.trim(), issued, { kid: key.id }),
    'another payload': `${head}.${encode({ ...issued, sub: 'ro' })}.${signature}`,
    'no signature': `${head}.${payload}.`,
    'a key in the header': other.token(issued, { kid: other.id, jwk: other.jwk, jku: 'https://127.0.0.1/keys' }),
    'critical extensions': key.token(issued, { crit: ['b64'], b64: false }),
    expired: key.token({ ...issued, iat: now() - 600, nbf: now() - 600, exp: now() - 120 }),
    'from the future': key.token({ ...issued, iat: now() + 600, nbf: now() + 600, exp: now() + 900 }),
    'issued in the future': key.token({ ...issued, nbf: undefined, iat: now() + 600, exp: now() + 900 }),
    'without an end': key.token({ ...issued, exp: undefined }),
    'for years': key.token({ ...issued, iat: now() - 90 * 3600, exp: now() + 1e9 }),
    'another audience': key.token({ ...issued, aud: 'another' }),
    'no audience': key.token({ ...issued, aud: undefined }),
    'another issuer': key.token({ ...issued, iss: 'another' }),
    'no token': 'abc',
    'an encrypted token': `${encode({ alg: 'dir', enc: 'A128GCM', kid: key.id })}..a.b.c`,
    'a user whose password is not told': key.token(claimsOf(sub)),
    'a user who is not known': key.token({ ...issued, sub: 'eve' }),
    'a user and the passwords of another one': key.token({ ...issued, sub: 'ro' })
  }
  t.equal(await pull(served, 'a', good), 200)
  for (const [what, token] of Object.entries(forged)) {
    const answer = await ask(served.listen, 'GET', manifest('a'), bearer(token))
    t.equal(outcome(answer), '401 UNAUTHORIZED', what)
    t.match(String(answer.headers['www-authenticate']), /^Bearer realm="[^"]+\/v2\/token",service="registry",error="invalid_token"/, what)
  }
  t.equal(await pull(served, 'a', key.token({ ...issued, iat: now() - 320, exp: now() - 20 })), 200, 'clocks may differ by a minute')
})

test('tokens: a token counts for what it was issued for, and for what its user may do now', async t => {
  const { served, key } = await setUp(t)
  const token = await tokenOf(served, 'rw', 'repository:a:pull')
  t.strictSame([await pull(served, 'a', token), await pull(served, 'b', token)], [200, '401 UNAUTHORIZED'])
  const refused = await ask(served.listen, 'DELETE', manifest('a'), bearer(token))
  t.match(String(refused.headers['www-authenticate']), 'scope="repository:a:delete",error="insufficient_scope"')
  t.equal(outcome(await ask(served.listen, 'GET', '/v2/_catalog', bearer(token))), '401 UNAUTHORIZED')
  const wide = partOf(await tokenOf(served, 'ro', 'repository:a:*', 'registry:catalog:*'), 1)
  t.match(wide['access'], [{ name: 'a', actions: ['pull'] }, { name: 'catalog' }])
  // As if the user had been allowed more when the token was issued.
  const widest = key.token({ ...wide, access: claimsOf().access })
  t.equal(outcome(await ask(served.listen, 'DELETE', manifest('a'), bearer(widest))), '403 DENIED')
  t.equal(await pull(served, 'a', widest), 200)
  const names = await ask(served.listen, 'GET', '/v2/_catalog', bearer(await tokenOf(served, 'ci', 'registry:catalog:*')))
  t.strictSame(JSON.parse(names.body.toString()).repositories, ['a', 'a/b'])
})

test('tokens: the audit tells who got a token and whose was refused, and not that a client asks for more', async t => {
  const { served, key } = await setUp(t)
  const from = served.lines.length
  const audited = () => served.lines.slice(from).filter(line => line['audit'])
  await pull(served, 'b', await tokenOf(served, 'ro', 'repository:a:pull'))
  t.match(audited(), [
    { action: 'login', actor: 'ro', address: '127.0.0.1', request: String },
    { action: 'challenge', actor: 'ro', name: 'b', permission: 'pull' }
  ])
  await pull(served, 'a', key.token(claimsOf({ aud: 'another' })))
  t.match(audited().at(-1), { action: 'refuse', actor: 'anonymous', reason: 'UNAUTHORIZED' })
  t.equal(audited().length, 3)
  t.notMatch(JSON.stringify(served.lines), /eyJ/, 'no token is in the log')
})

test('tokens: a mount reads only from what the token was issued for', async t => {
  const { served } = await setUp(t)
  const { config } = await pushImage(served, 'b', 'v2', {}, { authorization: basicOf('rw') })
  const mount = async (token: string, from: string) =>
    (await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?mount=${config}${from}`, bearer(token))).status
  const narrow = await tokenOf(served, 'rw', 'repository:a:pull,push', 'registry:catalog:*')
  t.strictSame([await mount(narrow, '&from=b'), await mount(narrow, '')], [202, 202])
  t.equal(await mount(await tokenOf(served, 'rw', 'repository:a:pull,push repository:b:pull'), '&from=b'), 201)
})

test('tokens: a token is not exchanged for another one, nor for more', async t => {
  const { served } = await setUp(t, { anonymous: ['pull'] })
  const token = await tokenOf(served, 'rw', 'repository:a:pull')
  const renewed = await ask(served.listen, 'GET', '/v2/token?scope=repository:a:push', bearer(token))
  t.strictSame([outcome(renewed), renewed.headers['www-authenticate']], ['401 UNAUTHORIZED', 'Basic realm="registry", charset="UTF-8"'])
  const form = { body: 'grant_type=refresh_token&refresh_token=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } }
  t.equal((await ask(served.listen, 'POST', '/v2/token', form)).status, 400)
})

test('tokens: in the middle of a pull users are removed, passwords change and keys rotate: tokens end, and are renewed', async t => {
  const { served, users, keyFile, key } = await setUp(t)
  const [ro, rw] = [await tokenOf(served, 'ro', 'repository:a:pull'), await tokenOf(served, 'rw', 'repository:a:pull')]
  t.strictSame([await pull(served, 'a', ro), await pull(served, 'a', rw)], [200, 200])
  const next = tokenKey()
  writeFileSync(users, `ro:${hashSync('other', 4)}\n`)
  writeFileSync(keyFile, next.pem)
  for (const what of ['the users file was reloaded', 'the keys of tokens were reloaded']) await until(() => served.logged(what).length > 0)
  t.strictSame([await pull(served, 'a', ro), await pull(served, 'a', rw)], ['401 UNAUTHORIZED', '401 UNAUTHORIZED'])
  const authorization = `Basic ${Buffer.from('ro:other').toString('base64')}`
  const { body } = await ask(served.listen, 'GET', '/v2/token?scope=repository:a:pull', { headers: { authorization } })
  const { token } = JSON.parse(body.toString())
  t.strictSame([await pull(served, 'a', token), partOf(ro, 0)['kid'], partOf(token, 0)['kid']], [200, key.id, next.id])
})

test('tokens: two keys overlap: the first signs, both verify', async t => {
  const [old, fresh] = [tokenKey(), tokenKey()]
  const place = folder(t)
  const file = (name: string, pem: string) => {
    writeFileSync(join(place, name), pem)
    return join(place, name)
  }
  const auth = guarded(t)
  const before = await serve(t, { auth: { ...auth, tokens: { keys: [file('old', old.pem), file('fresh', fresh.pem)] } } })
  const after = await serve(t, { auth: { ...auth, tokens: { keys: [file('fresh', fresh.pem), file('old.pub', old.publicPem)] } } })
  const [early, late] = [await tokenOf(before, 'ro', 'repository:a:pull'), await tokenOf(after, 'ro', 'repository:a:pull')]
  t.strictSame([partOf(early, 0)['kid'], partOf(late, 0)['kid']], [old.id, fresh.id])
  for (const served of [before, after]) {
    for (const token of [early, late]) t.equal(await pull(served, 'a', token), '404 NAME_UNKNOWN')
  }
})

test('tokens: giant tokens are refused unread, and so is what is none', async t => {
  const { served, key } = await setUp(t)
  const giant = key.token({
    ...claimsOf(),
    access: Array.from({ length: 160 }, (_, index) => ({ type: 'repository', name: `n${index}`, actions: [] }))
  })
  t.ok(giant.length > 8 * 1024 && giant.length < 15 * 1024)
  const answer = await ask(served.listen, 'GET', manifest('a'), bearer(giant))
  t.strictSame([outcome(answer), detailOf(answer)], ['401 UNAUTHORIZED', 'the token has more than 8192 characters'])
  for (const text of [
    '',
    ' ',
    '.',
    '..',
    '....',
    'a'.repeat(8_000),
    `${'.'.repeat(8_000)}`,
    `${encode([[[]]])}.a.a`,
    `${'['.repeat(4_000)}.a.a`
  ]) {
    t.equal(await pull(served, 'a', text), '401 UNAUTHORIZED')
  }
})

test('tokens: scopes are names and actions of this registry and nothing else', async t => {
  const { served } = await setUp(t)
  const access = async (...scopes: string[]) => partOf(await tokenOf(served, 'rw', ...scopes), 1)['access']
  const nothing = [
    'repository:a',
    'repository:a:',
    'repository::pull',
    'repository:A:pull',
    'repository:a b:pull',
    'repository:**:pull',
    'repository:*:*',
    'repository:a/../b:pull',
    'repository:а:pull',
    'repository:a:pull:push',
    'repository:host:5000/a:pull',
    'repository:a":pull',
    'repository:a\r\n:pull',
    'repository:a:PULL',
    'repository:a:pull;push',
    'repository(plugin):a:pull',
    'registry:catalog:pull',
    'registry:other:*',
    '__proto__:a:pull',
    ''
  ]
  for (const scope of nothing) t.strictSame(await access(scope), [], scope)
  t.strictSame(await access('repository:a:push,pull,x,pull'), [{ type: 'repository', name: 'a', actions: ['pull', 'push'] }])
  t.strictSame(await access('repository:a:*'), [{ type: 'repository', name: 'a', actions: ['pull', 'push', 'delete'] }])
  t.equal((await request(served, 'rw', ...Array(17).fill('repository:a:pull'))).status, 400)
  t.equal((await request(served, 'rw', `repository:${'a'.repeat(4_000)}:pull`)).status, 400)
  t.equal((await ask(served.listen, 'GET', '/v2/token?service=other', as('rw'))).status, 400)
})

test('tokens: wrong passwords, and none, get no token where nothing is granted without one', async t => {
  const { served } = await setUp(t)
  t.equal((await request(served, undefined, 'repository:a:pull')).status, 401)
  const authorization = `Basic ${Buffer.from('rw:wrong').toString('base64')}`
  t.equal((await ask(served.listen, 'GET', '/v2/token', { headers: { authorization } })).status, 401)
  const form = (text: string, type = 'application/x-www-form-urlencoded') =>
    ask(served.listen, 'POST', '/v2/token', { body: text, headers: { 'content-type': type } })
  t.equal((await form('grant_type=password&username=rw&password=wrong')).status, 401)
  t.equal((await form('grant_type=password&username=rw:x&password=wrong')).status, 400)
  t.equal((await form('grant_type=password')).status, 400)
  t.equal((await form('{}', 'application/json')).status, 400)
  t.equal((await form(`grant_type=password&username=rw&password=${'x'.repeat(20_000)}`)).status, 413)
  t.equal((await ask(served.listen, 'PUT', '/v2/token', as('rw'))).status, 405)
})

test('tokens: an anonymous token is for what needs no password', async t => {
  const { served } = await setUp(t, { anonymous: [{ pull: 'a' }] })
  const token = await tokenOf(served, undefined, 'repository:a:pull,push', 'repository:b:pull')
  t.strictSame([await pull(served, 'a', token), await pull(served, 'b', token)], [200, '401 UNAUTHORIZED'])
  t.notOk('sub' in partOf(token, 1))
})

test('tokens: a challenge names no host that is none, and the endpoint does not hide a repository', async t => {
  const { served } = await setUp(t)
  const challenge = async (host: string) =>
    String((await ask(served.listen, 'GET', manifest('a'), { headers: { host } })).headers['www-authenticate'])
  t.match(
    await challenge('registry.d8-system.svc:5001'),
    'Bearer realm="http://registry.d8-system.svc:5001/v2/token",service="registry",scope="repository:a:pull", Basic realm="registry"'
  )
  for (const host of ['a"b', 'a,b', 'a b', 'a@b', 'x'.repeat(300)])
    t.equal(await challenge(host), 'Basic realm="registry", charset="UTF-8"', host)
  await pushImage(served, 'token', 'v1', {}, { authorization: basicOf('rw') })
  t.equal((await ask(served.listen, 'GET', '/v2/token/tags/list', as('rw'))).status, 200)
})
