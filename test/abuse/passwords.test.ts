// The attack, without credentials: 10 connections pipelined 200,000 requests with one wrong password while the queue of
// bcrypt was full. All joined the one check of that password, and the process ended, out of memory.
import { hashSync, verify } from '@node-rs/bcrypt'
import { type Test, test } from 'tap'
import { createAccess } from '../../src/access/access.ts'
import { parseHtpasswd } from '../../src/access/htpasswd.ts'
import { createPasswordChecker, type PasswordLimits } from '../../src/access/password-checker.ts'
import { OciError } from '../../src/oci/errors.ts'
import { ask, until } from '../src/support.ts'
import { flood, openPort, pipelined, settle } from './attack.ts'

const entries = parseHtpasswd(`ana:${hashSync('right', 4)}`)
const basic = (password: string): string => `Basic ${Buffer.from(`ana:${password}`).toString('base64')}`
const given = (password: string) => ({ user: 'ana', password: Buffer.from(password) })

/** A checker whose bcrypt jobs wait until they are released. */
function held(limits: Partial<PasswordLimits> = {}) {
  const door = Promise.withResolvers<void>()
  const state = { closed: false, jobs: 0 }
  const checker = createPasswordChecker({
    entries,
    now: () => 0,
    limits,
    async verify(password, hash) {
      state.jobs++
      if (state.closed) await door.promise
      return verify(password, hash)
    }
  })
  return { checker, state, close: () => (state.closed = true), open: () => door.resolve() }
}

/** A port that answers 200 to the right password. */
async function guardedPort(t: Test, checker: ReturnType<typeof held>['checker']) {
  const seen = { running: 0, maxRunning: 0, statuses: new Map<number, number>() }
  const access = createAccess({ users: checker, roles: { ana: ['pull'] }, anonymous: [], onOutcome: () => {} })
  const { address } = await openPort(t, async (request, response) => {
    seen.running++
    seen.maxRunning = Math.max(seen.maxRunning, seen.running)
    try {
      await access.authenticate({ authorization: request.headers.authorization, address: '192.0.2.1' })
    } catch (error) {
      response.statusCode = error instanceof OciError ? error.status : 500
    }
    seen.running--
    response.end()
  })
  return { address, seen }
}

test('passwords: pipelined requests with one wrong password wait for their turn, not for its check', async t => {
  const { checker, close, open, state } = held()
  const { address, seen } = await guardedPort(t, checker)
  const headers = { authorization: basic('right') }
  t.equal((await ask(address, 'GET', '/', { headers })).status, 200)
  close()
  const fields = [`Authorization: ${basic('wrong')}`, `X: ${'a'.repeat(900)}`]
  const wires = await Promise.all(Array.from({ length: 10 }, () => flood(t, address, pipelined(2_000, 'GET /', fields))))
  await until(() => seen.running === 10)
  await settle(async () => t.equal((await ask(address, 'GET', '/', { headers })).status, 200, 'a user is served meanwhile'))
  t.ok(seen.maxRunning <= 11, `${seen.maxRunning} requests were under way`)
  t.equal(state.jobs, 2)
  open()
  for (const wire of wires) t.equal((await wire.answer()).status, 401)
  for (const wire of wires) wire.socket.destroy()
  await until(() => seen.running === 0)
})

test('passwords: the waiters of one check are bounded, those beyond are limited and cost nothing', async t => {
  const { checker, close, open, state } = held({ waiters: { perCheck: 3, total: 100 } })
  close()
  const checks = Array.from({ length: 10 }, () => checker.check(given('wrong'), '192.0.2.1'))
  open()
  const outcomes = await Promise.all(checks)
  t.strictSame(
    outcomes.map(each => each.outcome),
    [...Array(4).fill('failed'), ...Array(6).fill('limited')]
  )
  t.match(outcomes[9], { retryAfterMs: 1000 })
  t.equal(state.jobs, 1)
})

test('passwords: the waiters of all checks are bounded, and are free again when a check has ended', async t => {
  const limits = { waiters: { perCheck: 3, total: 4 }, jobs: { running: 2, waiting: 10 } }
  const { checker, close, open } = held(limits)
  close()
  const all = () =>
    ['a', 'b', 'right'].flatMap(password => Array.from({ length: 4 }, (_each, at) => checker.check(given(password), `192.0.2.${at}`)))
  const checks = all()
  open()
  const outcomes = (await Promise.all(checks)).map(each => each.outcome)
  t.strictSame(outcomes.slice(0, 8), [...Array(4).fill('failed'), ...Array(2).fill('failed'), ...Array(2).fill('limited')])
  t.strictSame(outcomes.slice(8), ['ok', 'limited', 'limited', 'limited'])
  const other = Array.from({ length: 4 }, () => checker.check(given('c'), '192.0.2.9'))
  t.strictSame(
    (await Promise.all(other)).map(each => each.outcome),
    Array(4).fill('failed')
  )
})

test('passwords: over HTTP a waiter beyond the bound is answered 429 with Retry-After', async t => {
  const { checker, close, open } = held({ waiters: { perCheck: 0, total: 0 } })
  const access = createAccess({ users: checker, roles: {}, anonymous: [], onOutcome: () => {} })
  close()
  const presented = { authorization: basic('right'), address: '192.0.2.1' }
  const first = access.authenticate(presented)
  const error = await access.authenticate(presented).catch(each => each)
  t.match(error, { code: 'TOOMANYREQUESTS', status: 429, headers: { 'Retry-After': '1' } })
  open()
  t.equal((await first).user, 'ana')
})

test('passwords: 11,000 simultaneous checks of the right password pass by one bcrypt job', async t => {
  const { checker, close, open, state } = held()
  close()
  const checks = Array.from({ length: 11_000 }, () => checker.check(given('right'), '192.0.2.1'))
  open()
  const outcomes = (await Promise.all(checks)).map(each => each.outcome)
  t.strictSame(Object.fromEntries(Object.entries(Object.groupBy(outcomes, each => each)).map(([key, all]) => [key, all?.length])), {
    ok: 1,
    cached: 10_999
  })
  t.equal(state.jobs, 1)
})
