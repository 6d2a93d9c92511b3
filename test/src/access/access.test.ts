import { hashSync } from '@node-rs/bcrypt'
import { test } from 'tap'
import type { GrantSetting } from '../../../config/sections/kinds.ts'
import { type AuthOutcome, createAccess } from '../../../src/access/access.ts'
import { parseHtpasswd } from '../../../src/access/htpasswd.ts'
import { createPasswordChecker } from '../../../src/access/password-checker.ts'
import { OciError } from '../../../src/oci/errors.ts'

const address = '127.0.0.1'
const entries = parseHtpasswd(['ro', 'rw', 'bare'].map(user => `${user}:${hashSync(`${user}-secret`, 4)}`).join('\n'))
const basic = (user: string, password = `${user}-secret`): string => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
// What skopeo, podman and buildah send without credentials.
const empty = 'Basic Og=='
const challenge = { 'WWW-Authenticate': 'Basic realm="registry", charset="UTF-8"' }

function setUp(anonymous: GrantSetting[] = []) {
  const outcomes: AuthOutcome[] = []
  const endless = { burst: 1_000_000, refillMs: 1 }
  const throttle = { login: { burst: 2, refillMs: 1500 }, address: endless, rounds: endless, maxBuckets: 10 }
  const users = createPasswordChecker({ entries, now: () => 0, limits: { throttle } })
  const roles = { ro: ['pull'], rw: ['pull', 'push', 'delete'] } satisfies Record<string, GrantSetting[]>
  const access = createAccess({ users, roles, anonymous, onOutcome: outcome => outcomes.push(outcome) })
  return { access, outcomes }
}

async function fault(work: () => unknown): Promise<OciError> {
  try {
    await work()
  } catch (error) {
    if (error instanceof OciError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

test('access: a user has the permissions of its role', async t => {
  const { access, outcomes } = setUp()
  const identity = await access.authenticate({ authorization: basic('rw'), address })
  t.equal(identity.user, 'rw')
  for (const action of ['pull', 'push', 'delete'] as const) access.authorize(identity, action)
  await access.authenticate({ authorization: basic('rw'), address })
  t.strictSame(outcomes, ['ok', 'cached'])
})

test('access: a known user without the permission is DENIED', async t => {
  const { access } = setUp()
  const identity = await access.authenticate({ authorization: basic('ro'), address })
  access.authorize(identity, 'pull')
  const error = await fault(() => access.authorize(identity, 'push'))
  t.match(error, { code: 'DENIED', status: 403 })
})

test('access: without a header the challenge is sent when anonymous lacks the permission', async t => {
  const { access, outcomes } = setUp(['pull'])
  const identity = await access.authenticate({ address })
  t.equal(identity.user, undefined)
  access.authorize(identity, 'pull')
  const error = await fault(() => access.authorize(identity, 'push'))
  t.match(error, { code: 'UNAUTHORIZED', status: 401, headers: challenge })
  t.strictSame(outcomes, ['anonymous'])
})

test('access: a wrong password is refused even where anonymous has every permission', async t => {
  const { access, outcomes } = setUp(['pull', 'push', 'delete'])
  const error = await fault(() => access.authenticate({ authorization: basic('rw', 'guess'), address }))
  t.match(error, { code: 'UNAUTHORIZED', headers: challenge })
  t.strictSame(outcomes, ['failed'])
})

const malformed: [string, string][] = [
  ['empty', ''],
  ['of another scheme', 'Bearer abc'],
  ['with bad base64', 'Basic %%%'],
  ['without a colon', `Basic ${Buffer.from('ana').toString('base64')}`],
  ['with a NUL', basic('rw', 'rw-secret\0')],
  ['of 100 KiB', basic('rw', 'x'.repeat(100 * 1024))]
]
for (const [what, authorization] of malformed) {
  test(`access: a header that is ${what} is UNAUTHORIZED, and counts as failed`, async t => {
    const { access, outcomes } = setUp()
    t.match(await fault(() => access.authenticate({ authorization, address })), { code: 'UNAUTHORIZED', headers: challenge })
    t.strictSame(outcomes, ['failed'])
  })
}

test('access: an address with too many login attempts gets Retry-After', async t => {
  const { access, outcomes } = setUp()
  for (const guess of ['1', '2']) await fault(() => access.authenticate({ authorization: basic('rw', guess), address }))
  const error = await fault(() => access.authenticate({ authorization: basic('rw', '3'), address }))
  t.match(error, { code: 'TOOMANYREQUESTS', status: 429, headers: { 'Retry-After': '2' } })
  t.strictSame(outcomes, ['failed', 'failed', 'limited'])
})

test('access: a client certificate whose name has a role acts as that user', async t => {
  const { access, outcomes } = setUp()
  const identity = await access.authenticate({ certificateName: 'ro', address })
  t.equal(identity.user, 'ro')
  access.authorize(identity, 'pull')
  t.match(await fault(() => access.authorize(identity, 'push')), { code: 'DENIED' })
  t.strictSame(outcomes, ['certificate'])
})

test('access: a client certificate whose name has no role is anonymous', async t => {
  const { access, outcomes } = setUp()
  for (const certificateName of ['stranger', 'constructor', '__proto__']) {
    t.equal((await access.authenticate({ certificateName, address })).user, undefined, certificateName)
  }
  t.strictSame(new Set(outcomes), new Set(['anonymous']))
})

test('access: Basic takes precedence over a client certificate, also when it is wrong', async t => {
  const { access } = setUp()
  t.equal((await access.authenticate({ authorization: basic('ro'), certificateName: 'rw', address })).user, 'ro')
  t.match(await fault(() => access.authenticate({ authorization: basic('ro', 'x'), certificateName: 'rw', address })), {
    code: 'UNAUTHORIZED'
  })
})

test('access: a user keeps the permissions of anonymous, and a user without a role gains nothing', async t => {
  const { access } = setUp(['pull'])
  const identity = await access.authenticate({ authorization: basic('bare'), address })
  access.authorize(identity, 'pull')
  t.match(await fault(() => access.authorize(identity, 'push')), { code: 'DENIED' })
})

test('end-1 GET /v2/: without credentials 401, also where anonymous may pull beside users, and any user passes', async t => {
  for (const anonymous of [[], ['pull'], ['pull', 'push', 'delete']] satisfies GrantSetting[][]) {
    const { access } = setUp(anonymous)
    const base = async (authorization?: string) => access.authorizeBase(await access.authenticate({ authorization, address }))
    t.match(await fault(() => base()), { code: 'UNAUTHORIZED', status: 401, headers: challenge })
    t.match(await fault(() => base(empty)), { code: 'UNAUTHORIZED', status: 401, headers: challenge })
    t.match(await fault(() => base(basic('rw', 'guess'))), { code: 'UNAUTHORIZED', status: 401, headers: challenge })
    await base(basic('bare'))
  }
})

test('end-1 GET /v2/: where no password could be right, it is what anonymous may do that decides', async t => {
  const of = (anonymous: GrantSetting[]) => createAccess({ roles: { certificate: ['push'] }, anonymous, onOutcome: () => {} })
  const open = of(['pull'])
  open.authorizeBase(await open.authenticate({ address }))
  open.authorizeBase(await open.authenticate({ authorization: empty, address }))
  const closed = of([])
  t.match(await fault(async () => closed.authorizeBase(await closed.authenticate({ address }))), { status: 401 })
  closed.authorizeBase(await closed.authenticate({ certificateName: 'certificate', address }))
})

test('access: an empty user with an empty password is no login attempt, but a request without credentials', async t => {
  const { access, outcomes } = setUp(['pull'])
  for (let round = 0; round < 5; round++) {
    const identity = await access.authenticate({ authorization: empty, address })
    t.equal(identity.user, undefined)
    access.authorize(identity, 'pull')
    t.match(await fault(() => access.authorize(identity, 'push')), { code: 'UNAUTHORIZED', headers: challenge })
  }
  t.equal((await access.authenticate({ authorization: empty, certificateName: 'ro', address })).user, 'ro')
  t.strictSame(outcomes, [...Array.from({ length: 5 }, () => 'anonymous'), 'certificate'])
})

test('access: without users an Authorization header is ignored', async t => {
  const access = createAccess({ roles: { rw: ['push'] }, anonymous: ['pull'], onOutcome: () => {} })
  const identity = await access.authenticate({ authorization: basic('rw'), address })
  t.equal(identity.user, undefined)
  access.authorize(identity, 'pull')
  t.match(await fault(() => access.authorize(identity, 'push')), { code: 'UNAUTHORIZED' })
})
