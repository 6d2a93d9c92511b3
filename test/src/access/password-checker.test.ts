import { hashSync, verify as verifyBcrypt } from '@node-rs/bcrypt'
import { test } from 'tap'
import { type HtpasswdEntry, parseHtpasswd } from '../../../src/access/htpasswd.ts'
import { createPasswordChecker, type PasswordLimits, type Verdict } from '../../../src/access/password-checker.ts'

const line = (user: string, password: string): string => `${user}:${hashSync(password, 4)}`
const old = line('ana', 'old')
const fresh = line('ana', 'fresh')
const bob = line('bob', 'secret')
const entriesOf = (...lines: string[]): HtpasswdEntry[] => parseHtpasswd(lines.join('\n'))
const given = (user: string, password: string) => ({ user, password: Buffer.from(password) })
const outcome = async (verdict: Promise<Verdict>): Promise<string> => (await verdict).outcome

/** Credentials over the real bcrypt, with a count of its jobs, a clock that is set by hand, and a door that can hold jobs back. */
function setUp(entries: HtpasswdEntry[], limits: Partial<PasswordLimits> = {}) {
  const seen = { jobs: 0, running: 0, most: 0, time: 0 }
  const held: (() => void)[] = []
  const door = { closed: false }
  const credentials = createPasswordChecker({
    entries,
    now: () => seen.time,
    limits,
    async verify(password, hash) {
      seen.jobs++
      seen.most = Math.max(seen.most, ++seen.running)
      if (door.closed) await new Promise<void>(resolve => held.push(resolve))
      const matches = await verifyBcrypt(password, hash)
      seen.running--
      return matches
    }
  })
  const open = (): void => {
    door.closed = false
    for (const release of held.splice(0)) release()
  }
  return { credentials, seen, open, close: () => (door.closed = true) }
}

test('credentials: the right password is accepted, a wrong one and an unknown user are not', async t => {
  const { credentials } = setUp(entriesOf(fresh, bob))
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
  t.equal(await outcome(credentials.check(given('ana', 'secret'), 'a')), 'failed')
  t.equal(await outcome(credentials.check(given('eve', 'fresh'), 'a')), 'failed')
})

test('credentials: both passwords of a user who stands in the file twice are accepted', async t => {
  const { credentials } = setUp(entriesOf(old, fresh))
  t.equal(await outcome(credentials.check(given('ana', 'old'), 'a')), 'ok')
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('credentials: bcrypt runs once for a password that is used again', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh))
  await credentials.check(given('ana', 'fresh'), 'a')
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'b')), 'cached')
  t.equal(seen.jobs, 1)
})

test('credentials: bcrypt runs once for many simultaneous requests with the same password', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh))
  const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcome(credentials.check(given('ana', 'fresh'), 'a'))))
  t.equal(seen.jobs, 1)
  t.strictSame(outcomes, ['ok', ...Array(49).fill('cached')])
})

test('credentials: a wrong password is remembered for a while, and tried again after that', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh))
  await credentials.check(given('ana', 'guess'), 'a')
  t.equal(await outcome(credentials.check(given('ana', 'guess'), 'a')), 'failed')
  t.equal(seen.jobs, 1)
  seen.time = 30_001
  t.equal(await outcome(credentials.check(given('ana', 'guess'), 'a')), 'failed')
  t.equal(seen.jobs, 2)
})

test('credentials: a known and an unknown user cost the same number of bcrypt jobs', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh, bob))
  await credentials.check(given('ana', 'guess'), 'a')
  const known = seen.jobs
  await credentials.check(given('eve', 'guess'), 'a')
  t.equal(seen.jobs, 2 * known)
})

test('credentials: user and password are not mixed up in the cache', async t => {
  const { credentials } = setUp(entriesOf(line('a', 'bc')))
  await credentials.check(given('a', 'bc'), 'x')
  t.equal(await outcome(credentials.check(given('ab', 'c'), 'x')), 'failed')
})

test('credentials: at most two bcrypt jobs run at once', async t => {
  const { credentials, seen } = setUp(entriesOf(old, fresh, bob))
  await Promise.all(Array.from({ length: 12 }, (_, index) => credentials.check(given('ana', `guess${index}`), `10.0.0.${index}`)))
  t.equal(seen.most, 2)
  t.equal(seen.jobs, 24)
})

test('credentials: a check that finds the queue full is limited, and costs its address nothing', async t => {
  const limits = { jobs: { running: 1, waiting: 1 }, attempts: { burst: 1, refill: 60_000, addresses: 10 } }
  const { credentials, open, close } = setUp(entriesOf(fresh), limits)
  close()
  const waiting = ['1', '2'].map(guess => credentials.check(given('ana', guess), guess))
  t.strictSame(await credentials.check(given('ana', 'fresh'), 'c'), { outcome: 'limited', retryAfter: 1000 })
  open()
  await Promise.all(waiting)
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'c')), 'ok')
})

test('credentials: an address that guesses is limited without a bcrypt job, others and remembered passwords are not', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh, bob), { throttle: { burst: 3, refillMs: 2000, maxAddresses: 10 } })
  await credentials.check(given('bob', 'secret'), 'a')
  for (const guess of ['1', '2', '3']) t.equal(await outcome(credentials.check(given('ana', guess), 'a')), 'failed')
  const jobs = seen.jobs
  t.strictSame(await credentials.check(given('ana', '4'), 'a'), { outcome: 'limited', retryAfter: 2000 })
  t.equal(seen.jobs, jobs)
  t.equal(await outcome(credentials.check(given('bob', 'secret'), 'a')), 'cached')
  t.equal(await outcome(credentials.check(given('ana', '5'), 'b')), 'failed')
  seen.time = 2000
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('credentials: parallel guesses cannot pass the limit together', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh), { throttle: { burst: 3, refillMs: 2000, maxAddresses: 10 } })
  await Promise.all(Array.from({ length: 10 }, (_, index) => credentials.check(given('ana', `${index}`), 'a')))
  t.equal(seen.jobs, 3)
})

test('credentials: honest logins do not use up the tries of their address', async t => {
  const lines = Array.from({ length: 5 }, (_, index) => line(`user${index}`, 'secret'))
  const { credentials } = setUp(entriesOf(...lines), { throttle: { burst: 1, refillMs: 60_000, maxAddresses: 10 } })
  for (const index of lines.keys()) t.equal(await outcome(credentials.check(given(`user${index}`, 'secret'), 'a')), 'ok')
})

test('credentials: a password that leaves the file is refused at once, the others stay remembered', async t => {
  const { credentials, seen } = setUp(entriesOf(old, fresh, bob))
  for (const password of ['old', 'fresh']) await credentials.check(given('ana', password), 'a')
  const jobs = seen.jobs
  credentials.replace(entriesOf(fresh, bob))
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'cached')
  t.equal(seen.jobs, jobs)
  t.equal(await outcome(credentials.check(given('ana', 'old'), 'a')), 'failed')
})

test('credentials: a password that was wrong before the file changed is accepted after it', async t => {
  const { credentials } = setUp(entriesOf(old))
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'failed')
  credentials.replace(entriesOf(old, fresh))
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('credentials: a password that leaves the file while it is being checked is refused', async t => {
  const { credentials, open, close } = setUp(entriesOf(old))
  close()
  const verdict = outcome(credentials.check(given('ana', 'old'), 'a'))
  credentials.replace(entriesOf(fresh))
  open()
  t.equal(await verdict, 'failed')
  t.equal(await outcome(credentials.check(given('ana', 'old'), 'a')), 'failed')
})

test('credentials: a check that began before the file changed does not decide for one that begins after it', async t => {
  const { credentials, open, close } = setUp(entriesOf(old))
  close()
  const before = outcome(credentials.check(given('ana', 'fresh'), 'a'))
  credentials.replace(entriesOf(fresh))
  const after = outcome(credentials.check(given('ana', 'fresh'), 'a'))
  open()
  t.strictSame(await Promise.all([before, after]), ['failed', 'ok'])
})

test('credentials: a failure that comes in after the file changed is not remembered', async t => {
  const { credentials, open, close } = setUp(entriesOf(old))
  close()
  const before = outcome(credentials.check(given('ana', 'fresh'), 'a'))
  credentials.replace(entriesOf(fresh))
  open()
  t.equal(await before, 'failed')
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('credentials: 72 bytes are a password, a longer one with the same beginning is refused', async t => {
  const longest = 'p'.repeat(72)
  const { credentials, seen } = setUp(entriesOf(line('ana', longest)))
  t.equal(await outcome(credentials.check(given('ana', `${longest}x`), 'a')), 'failed')
  t.equal(seen.jobs, 0)
  t.equal(await outcome(credentials.check(given('ana', longest), 'a')), 'ok')
})

test('credentials: the number of remembered passwords is bounded', async t => {
  const { credentials, seen } = setUp(entriesOf(fresh, bob), { cache: { maxAccepted: 1, maxRejected: 1, rejectedTtlMs: 1000 } })
  await credentials.check(given('ana', 'fresh'), 'a')
  await credentials.check(given('bob', 'secret'), 'a')
  const jobs = seen.jobs
  t.equal(await outcome(credentials.check(given('ana', 'fresh'), 'a')), 'ok')
  t.equal(seen.jobs, jobs + 1)
})
