import { test } from 'tap'
import { OciError } from '../../../../src/oci/errors.ts'
import { partOf } from '../../../support/tokens.ts'
import { basic, entriesOf, type Scene, setUp } from './scene.ts'

const address = '192.0.2.1'
const origin = { address, host: 'registry.test:5001', secure: true }
const wanted = (...scopes: string[]) => ({ scopes })

async function issue({ access }: Scene, user: string | undefined, ...scopes: string[]): Promise<string> {
  const authorization = user === undefined ? undefined : basic(user)
  const issued = await access.issueToken({ address, authorization }, wanted(...scopes))
  return issued?.token ?? ''
}

const present = ({ access }: Scene, token: string) => access.authenticate({ ...origin, authorization: `Bearer ${token}` })

async function fault(work: () => unknown): Promise<OciError> {
  try {
    await work()
  } catch (error) {
    if (error instanceof OciError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

test('bearer: a token says who, for what and until when, and no secret', async t => {
  const scene = setUp()
  const { token, issuedAt, expiresInSeconds } =
    (await scene.access.issueToken({ address, authorization: basic('ro') }, wanted('repository:a:pull'))) ?? {}
  const seconds = Math.floor(scene.clock.now / 1000)
  t.match(partOf(token ?? '', 0), { alg: 'ES256', typ: 'JWT', kid: scene.key.id })
  const claims = partOf(token ?? '', 1)
  t.match(claims, { iss: 'registry', aud: 'registry', sub: 'ro', iat: seconds, nbf: seconds, exp: seconds + 900, jti: /^[0-9a-f-]{36}$/ })
  t.strictSame(claims['access'], [{ type: 'repository', name: 'a', actions: ['pull'] }])
  t.strictSame([issuedAt?.getTime(), expiresInSeconds], [seconds * 1000, 900])
})

test('bearer: a token is verified once, however many requests present it at once', async t => {
  const scene = setUp()
  const token = await issue(scene, 'ro', 'repository:a:pull')
  const identities = await Promise.all(Array.from({ length: 50 }, () => present(scene, token)))
  t.strictSame([new Set(identities.map(each => each.user)), scene.verified()], [new Set(['ro']), 1])
  t.strictSame(new Set(scene.outcomes.slice(1)), new Set(['token']))
  scene.forget()
  await present(scene, token)
  t.equal(scene.verified(), 2, 'until keys change')
})

test('bearer: a remembered token ends when it says', async t => {
  const scene = setUp()
  const token = await issue(scene, 'ro', 'repository:a:pull')
  await present(scene, token)
  scene.clock.now += 15 * 60_000
  t.equal((await present(scene, token)).user, 'ro', 'clocks may differ by a minute')
  scene.clock.now += 61_000
  t.match(await fault(() => present(scene, token)), { code: 'UNAUTHORIZED', detail: 'the token has expired' })
})

test('bearer: a user who is removed, or has another password, loses with the next request; others go on', async t => {
  const scene = setUp()
  const [ro, rw] = [await issue(scene, 'ro', 'repository:a:pull'), await issue(scene, 'rw', 'repository:a:pull')]
  await Promise.all([present(scene, ro), present(scene, rw)])
  const former = entriesOf('ro', 'rw')
  scene.users.replace(former.filter(each => each.user === 'ro'))
  t.match(await fault(() => present(scene, rw)), { code: 'UNAUTHORIZED' })
  t.match(await fault(() => present(scene, ro)), { code: 'UNAUTHORIZED' }, 'another bcrypt string is another password')
  const renewed = await issue(scene, 'ro', 'repository:a:pull')
  scene.users.replace(former)
  t.equal((await present(scene, renewed)).user, 'ro')
})

test('bearer: a password that changes while a token is issued for it makes a token that counts for nothing', async t => {
  const scene = setUp()
  const issuing = issue(scene, 'ro', 'repository:a:pull')
  const other = entriesOf('rw').map(entry => ({ ...entry, user: 'ro' }))
  // The job that compares the former password still runs, or has just ended.
  scene.users.replace([...other, ...entriesOf('ro')])
  const token = await issuing.catch(() => undefined)
  if (token !== undefined) t.match(await fault(() => present(scene, token)), { code: 'UNAUTHORIZED' })
  else t.pass('the password was refused')
})

test('bearer: a refused token is not remembered', async t => {
  const scene = setUp()
  const forged = `${(await issue(scene, 'ro')).slice(0, -4)}AAAA`
  for (let turn = 0; turn < 3; turn++) await fault(() => present(scene, forged))
  t.equal(scene.verified(), 3)
})

test('bearer: the challenge of a request has Bearer first and Basic after it, that of GET /v2/ has Bearer alone', async t => {
  const { access } = setUp()
  const identity = await access.authenticate(origin)
  const bearer = 'Bearer realm="https://registry.test:5001/v2/token",service="registry"'
  const plain = 'Basic realm="registry", charset="UTF-8"'
  const challenge = async (work: () => void) => (await fault(work)).headers['WWW-Authenticate']
  t.strictSame(await challenge(() => access.authorizeBase(identity)), bearer)
  t.strictSame(await challenge(() => access.authorize(identity, 'push', 'a/b')), [`${bearer},scope="repository:a/b:pull,push"`, plain])
  t.strictSame(await challenge(() => access.authorize(identity, 'delete', 'a')), [`${bearer},scope="repository:a:delete"`, plain])
  t.strictSame(await challenge(() => access.authorize(identity, 'pull')), [`${bearer},scope="registry:catalog:*"`, plain])
})

test('bearer: a token for something else does not take away what needs no credentials', async t => {
  const scene = setUp({ anonymous: [{ pull: 'public' }] })
  const identity = await present(scene, await issue(scene, 'rw', 'repository:a:pull'))
  scene.access.authorize(identity, 'pull', 'public')
  t.match(await fault(() => scene.access.authorize(identity, 'pull', 'b')), { code: 'UNAUTHORIZED' })
  scene.access.authorizeBase(identity)
  scene.access.authorizeBase(await present(scene, await issue(scene, undefined)))
})

test('bearer: Basic stays, also where a client certificate is presented beside it', async t => {
  const scene = setUp()
  const identity = await scene.access.authenticate({ ...origin, authorization: basic('rw'), certificateName: 'ro' })
  scene.access.authorize(identity, 'delete', 'anything')
  t.equal(identity.user, 'rw')
  t.equal((await scene.access.authenticate({ ...origin, certificateName: 'ro' })).user, 'ro')
})
