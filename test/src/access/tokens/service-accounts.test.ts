// Tokens of Kubernetes: what the cluster signs for this registry counts, by the roles of its subject, and nothing else
// that it signs.
import { test } from 'tap'
import { compileSubjectPattern } from '../../../../src/access/tokens/subject-pattern.ts'
import { hmacToken, partOf, tokenKey } from '../../../support/tokens.ts'
import { basic, type Scene, setUp } from './scene.ts'

const address = '192.0.2.1'
const subject = 'system:serviceaccount:d8-ci:builder'
const roles = { 'system:serviceaccount:d8-*:builder': ['push' as const], 'system:serviceaccount:*:*': [{ pull: 'system/**' }] }

function claims({ clock }: Scene, more: Record<string, unknown> = {}): Record<string, unknown> {
  const seconds = Math.floor(clock.now / 1000)
  return { iss: 'https://issuer.test', aud: ['other', 'registry'], sub: subject, iat: seconds, exp: seconds + 3600, ...more }
}

const present = (scene: Scene, token: string) => scene.access.authenticate({ address, host: 'r', authorization: `Bearer ${token}` })

test('service accounts: a token gives its subject the roles whose patterns match', async t => {
  const scene = setUp({ roles })
  const identity = await present(scene, scene.issuerKey.token(claims(scene)))
  t.equal(identity.user, subject)
  scene.access.authorize(identity, 'push', 'team/a')
  scene.access.authorize(identity, 'pull', 'system/a')
  t.throws(() => scene.access.authorize(identity, 'pull', 'team/a'), { code: 'DENIED' })
  const other = await present(scene, scene.issuerKey.token(claims(scene, { sub: 'system:serviceaccount:kube-system:builder' })))
  t.throws(() => scene.access.authorize(other, 'push', 'team/a'), { code: 'DENIED' })
})

test('service accounts: ES256 keys count as well', async t => {
  const scene = setUp({ roles, issuerKey: tokenKey() })
  t.equal((await present(scene, scene.issuerKey.token(claims(scene)))).user, subject)
})

test('service accounts: a token for another audience or of another issuer, forged, unsigned, without an end or an odd subject is refused', async t => {
  const scene = setUp({ roles })
  const { issuerKey: key } = scene
  const refused = {
    'the API server': key.token(claims(scene, { aud: ['https://kubernetes.default.svc'] })),
    'no audience': key.token(claims(scene, { aud: undefined })),
    'another issuer': key.token(claims(scene, { iss: 'https://other.test' })),
    'the issuer of this registry': key.token(claims(scene, { iss: 'registry', aud: 'registry', access: [] })),
    'another key': tokenKey('RS256').token(claims(scene), { kid: key.id }),
    'no key id': key.token(claims(scene), { kid: undefined }),
    HS256: hmacToken(key.publicPem, claims(scene), { kid: key.id }),
    none: `${key.token(claims(scene), { alg: 'none' }).split('.').slice(0, 2).join('.')}.`,
    'an algorithm of another key': key.token(claims(scene), { alg: 'ES256' }),
    expired: key.token(claims(scene, { iat: 1_000_000, exp: 1_003_600 })),
    'no end': key.token(claims(scene, { exp: undefined })),
    'not yet': key.token(claims(scene, { nbf: scene.clock.now / 1000 + 600 })),
    'no subject': key.token(claims(scene, { sub: undefined })),
    'a subject of two lines': key.token(claims(scene, { sub: `${subject}\nx` })),
    'a long subject': key.token(claims(scene, { sub: 'x'.repeat(256) })),
    'a user of this registry, signed by its key': scene.key.token(claims(scene))
  }
  for (const [what, token] of Object.entries(refused)) await t.rejects(present(scene, token), { code: 'UNAUTHORIZED' }, what)
})

test('service accounts: the token is the password of one user of Basic, and of no other', async t => {
  const scene = setUp({ roles })
  const token = scene.issuerKey.token(claims(scene))
  const authenticate = (user: string, password: string) =>
    scene.access.authenticate({ address, host: 'r', authorization: basic(user, password) })
  t.equal((await authenticate('serviceaccount', token)).user, subject)
  await t.rejects(authenticate('ro', token), { code: 'UNAUTHORIZED' })
  await t.rejects(authenticate('serviceaccount', 'ro-secret'), { code: 'UNAUTHORIZED' })
})

test('service accounts: a token is exchanged for one of the registry that ends with it', async t => {
  const scene = setUp({ roles })
  const ends = Math.floor(scene.clock.now / 1000) + 120
  const authorization = `Bearer ${scene.issuerKey.token(claims(scene, { exp: ends }))}`
  const { token = '', user } =
    (await scene.access.issueToken({ address, authorization }, { scopes: ['repository:system/a:pull,push'] })) ?? {}
  t.strictSame([user, partOf(token, 1)['exp'], partOf(token, 1)['sub']], [subject, ends, subject])
  const identity = await present(scene, token)
  scene.access.authorize(identity, 'pull', 'system/a')
  t.throws(() => scene.access.authorize(identity, 'push', 'team/a'), { code: 'UNAUTHORIZED' })
  await t.rejects(async () => scene.access.issueToken({ address, authorization: `Bearer ${token}` }, { scopes: [] }), {
    code: 'UNAUTHORIZED'
  })
})

test('subject pattern: one * in a part stands for any characters but a colon', async t => {
  const matches = (pattern: string, text: string) => compileSubjectPattern(pattern)(text)
  t.ok(matches('system:serviceaccount:d8-*:ci', 'system:serviceaccount:d8-x:ci'))
  t.ok(matches('a:*', 'a:b'))
  t.ok(matches('a*c', 'abc'))
  t.notOk(matches('a:*', 'a:b:c'))
  t.notOk(matches('a:*', 'a:'))
  t.notOk(matches('a:*', 'a'))
  t.notOk(matches('ab*ba', 'aba'))
  t.notOk(matches('a.c', 'abc'))
})
