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
const endless = { burst: 1_000_000, refillMs: 1 }
const logins = (burst: number, refillMs: number) => ({ login: { burst, refillMs }, address: endless, rounds: endless, maxBuckets: 10 })
const outcome = async (verdict: Promise<Verdict>): Promise<string> => (await verdict).outcome

/** A password checker with the real bcrypt, a count of its jobs, a manual clock, and a door that holds jobs back. */
function setUp(entries: HtpasswdEntry[], limits: Partial<PasswordLimits> = {}) {
  const seen = { jobs: 0, running: 0, maxRunning: 0, time: 0 }
  const held: (() => void)[] = []
  const door = { closed: false }
  const checker = createPasswordChecker({
    entries,
    now: () => seen.time,
    limits,
    async verify(password, hash) {
      seen.jobs++
      seen.maxRunning = Math.max(seen.maxRunning, ++seen.running)
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
  return { checker, seen, open, close: () => (door.closed = true) }
}

test('passwords: the right password is accepted, a wrong one and an unknown user are not', async t => {
  const { checker } = setUp(entriesOf(fresh, bob))
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'ok')
  t.equal(await outcome(checker.check(given('ana', 'secret'), 'a')), 'failed')
  t.equal(await outcome(checker.check(given('eve', 'fresh'), 'a')), 'failed')
})

test('passwords: both passwords of a user with two lines in the file are accepted', async t => {
  const { checker } = setUp(entriesOf(old, fresh))
  t.equal(await outcome(checker.check(given('ana', 'old'), 'a')), 'ok')
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('passwords: bcrypt runs once for a password that is used again', async t => {
  const { checker, seen } = setUp(entriesOf(fresh))
  await checker.check(given('ana', 'fresh'), 'a')
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'b')), 'cached')
  t.equal(seen.jobs, 1)
})

test('passwords: bcrypt runs once for many simultaneous requests with the same password', async t => {
  const { checker, seen } = setUp(entriesOf(fresh))
  const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcome(checker.check(given('ana', 'fresh'), 'a'))))
  t.equal(seen.jobs, 1)
  t.strictSame(outcomes, ['ok', ...Array(49).fill('cached')])
})

test('passwords: a wrong password is cached for its TTL, and verified again after it', async t => {
  const { checker, seen } = setUp(entriesOf(fresh))
  await checker.check(given('ana', 'guess'), 'a')
  t.equal(await outcome(checker.check(given('ana', 'guess'), 'a')), 'failed')
  t.equal(seen.jobs, 1)
  seen.time = 30_001
  t.equal(await outcome(checker.check(given('ana', 'guess'), 'a')), 'failed')
  t.equal(seen.jobs, 2)
})

test('passwords: a known and an unknown user cost the same number of bcrypt jobs', async t => {
  const { checker, seen } = setUp(entriesOf(fresh, bob))
  await checker.check(given('ana', 'guess'), 'a')
  const known = seen.jobs
  await checker.check(given('eve', 'guess'), 'a')
  t.equal(seen.jobs, 2 * known)
})

test('passwords: user and password are not mixed up in the cache', async t => {
  const { checker } = setUp(entriesOf(line('a', 'bc')))
  await checker.check(given('a', 'bc'), 'x')
  t.equal(await outcome(checker.check(given('ab', 'c'), 'x')), 'failed')
})

test('passwords: at most two bcrypt jobs run at once', async t => {
  const { checker, seen } = setUp(entriesOf(old, fresh, bob))
  await Promise.all(Array.from({ length: 12 }, (_, index) => checker.check(given('ana', `guess${index}`), `10.0.0.${index}`)))
  t.equal(seen.maxRunning, 2)
  t.equal(seen.jobs, 24)
})

test('passwords: a right password that finds the queue full takes the place kept for its user', async t => {
  const limits = { jobs: { running: 1, waiting: 1 }, heldMs: 60_000 }
  const { checker, open, close } = setUp(entriesOf(fresh, bob), limits)
  close()
  const waiting = ['1', '2'].map(guess => checker.check(given('ana', guess), guess))
  const right = outcome(checker.check(given('bob', 'secret'), 'c'))
  open()
  t.equal(await right, 'ok')
  t.equal(await outcome(checker.check(given('bob', 'secret'), 'c')), 'cached')
  await Promise.all(waiting)
})

test('passwords: an address that guesses at a user is limited without a bcrypt job, others and cached passwords are not', async t => {
  const { checker, seen } = setUp(entriesOf(fresh, bob), { throttle: logins(3, 2000) })
  await checker.check(given('bob', 'secret'), 'a')
  for (const guess of ['1', '2', '3']) t.equal(await outcome(checker.check(given('ana', guess), 'a')), 'failed')
  const jobs = seen.jobs
  t.strictSame(await checker.check(given('ana', '4'), 'a'), { outcome: 'limited', retryAfterMs: 2000 })
  t.equal(seen.jobs, jobs)
  t.equal(await outcome(checker.check(given('bob', 'secret'), 'a')), 'cached')
  t.equal(await outcome(checker.check(given('ana', '5'), 'b')), 'failed')
  seen.time = 2000
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('passwords: parallel guesses cannot pass the limit together', async t => {
  const { checker, seen } = setUp(entriesOf(fresh), { throttle: logins(3, 2000) })
  await Promise.all(Array.from({ length: 10 }, (_, index) => checker.check(given('ana', `${index}`), 'a')))
  t.equal(seen.jobs, 3)
})

test('passwords: successful logins do not use up the attempts of their address', async t => {
  const lines = Array.from({ length: 5 }, (_, index) => line(`user${index}`, 'secret'))
  const { checker } = setUp(entriesOf(...lines), { throttle: logins(1, 60_000) })
  for (const index of lines.keys()) t.equal(await outcome(checker.check(given(`user${index}`, 'secret'), 'a')), 'ok')
})

test('passwords: a password that leaves the file is refused at once, the others stay cached', async t => {
  const { checker, seen } = setUp(entriesOf(old, fresh, bob))
  for (const password of ['old', 'fresh']) await checker.check(given('ana', password), 'a')
  const jobs = seen.jobs
  checker.replace(entriesOf(fresh, bob))
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'cached')
  t.equal(seen.jobs, jobs)
  t.equal(await outcome(checker.check(given('ana', 'old'), 'a')), 'failed')
})

test('passwords: a password that was wrong before the file changed is accepted after it', async t => {
  const { checker } = setUp(entriesOf(old))
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'failed')
  checker.replace(entriesOf(old, fresh))
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('passwords: a password that leaves the file while it is being checked is refused', async t => {
  const { checker, open, close } = setUp(entriesOf(old))
  close()
  const verdict = outcome(checker.check(given('ana', 'old'), 'a'))
  checker.replace(entriesOf(fresh))
  open()
  t.equal(await verdict, 'failed')
  t.equal(await outcome(checker.check(given('ana', 'old'), 'a')), 'failed')
})

test('passwords: a check that began before the file changed does not answer one that begins after it', async t => {
  const { checker, open, close } = setUp(entriesOf(old))
  close()
  const before = outcome(checker.check(given('ana', 'fresh'), 'a'))
  checker.replace(entriesOf(fresh))
  const after = outcome(checker.check(given('ana', 'fresh'), 'a'))
  open()
  t.strictSame(await Promise.all([before, after]), ['failed', 'ok'])
})

test('passwords: a failure that ends after the file changed is not cached', async t => {
  const { checker, open, close } = setUp(entriesOf(old))
  close()
  const before = outcome(checker.check(given('ana', 'fresh'), 'a'))
  checker.replace(entriesOf(fresh))
  open()
  t.equal(await before, 'failed')
  t.equal(await outcome(checker.check(given('ana', 'fresh'), 'a')), 'ok')
})

test('passwords: 72 bytes are a password, a longer one with the same beginning is refused', async t => {
  const maximal = 'p'.repeat(72)
  const { checker, seen } = setUp(entriesOf(line('ana', maximal)))
  t.equal(await outcome(checker.check(given('ana', `${maximal}x`), 'a')), 'failed')
  t.equal(seen.jobs, 0)
  t.equal(await outcome(checker.check(given('ana', maximal), 'a')), 'ok')
})

test('passwords: the number of cached wrong passwords is bounded', async t => {
  const { checker, seen } = setUp(entriesOf(fresh), { cache: { maxRejected: 1, rejectedTtlMs: 1000 } })
  for (const guess of ['1', '2', '2', '1']) await checker.check(given('ana', guess), 'a')
  t.equal(seen.jobs, 3)
})
