import { test } from 'tap'
import { addressKey, createLoginThrottle } from '../../../src/access/login-throttle.ts'

const login = (address: string, user: string, rounds = 1) => ({ address, user, rounds })
const endless = { burst: 1000, refillMs: 1 }

test('throttle: attempts are counted by address and user, the addresses of an IPv6 network together', async t => {
  const limits = { login: { burst: 1, refillMs: 1000 }, address: endless, rounds: endless, maxBuckets: 10 }
  const throttle = createLoginThrottle(limits, () => 0)
  t.equal(throttle.take(login('2001:db8::1', 'ana')), undefined)
  t.equal(throttle.take(login('2001:db8::2', 'ana')), 1000)
  t.equal(throttle.take(login('2001:db8::1', 'bob')), undefined)
  t.equal(throttle.take(login('2001:db8:1::1', 'ana')), undefined)
  throttle.refund(login('2001:db8::3', 'ana'))
  t.equal(throttle.take(login('2001:db8::1', 'ana')), undefined)
})

test('throttle: what all users of an address share is empty for that address only', async t => {
  const limits = { login: endless, address: { burst: 2, refillMs: 1000 }, rounds: endless, maxBuckets: 10 }
  const throttle = createLoginThrottle(limits, () => 0)
  t.strictSame(
    ['ana', 'bob', 'eve'].map(user => throttle.takeShared(login('a', user))),
    [true, true, false]
  )
  t.equal(throttle.takeShared(login('b', 'eve')), true)
  throttle.refundShared(login('a', 'ana'))
  t.equal(throttle.takeShared(login('a', 'eve')), true)
})

test('throttle: the work of all addresses is bounded, and an attempt without room takes nothing of its address', async t => {
  const limits = { login: endless, address: { burst: 1, refillMs: 1000 }, rounds: { burst: 10, refillMs: 1 }, maxBuckets: 10 }
  const throttle = createLoginThrottle(limits, () => 0)
  t.equal(throttle.takeShared(login('a', 'ana', 8)), true)
  t.equal(throttle.takeShared(login('b', 'ana', 8)), false)
  throttle.refundShared(login('a', 'ana', 8))
  t.equal(throttle.takeShared(login('b', 'ana', 8)), true)
})

test('throttle: the addresses of one IPv6 network count together, those of IPv4 one by one', async t => {
  t.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:0DB8:1:2::9'))
  t.equal(addressKey('2001:db8::1'), addressKey('2001:db8:0:0:ffff::'))
  t.equal(addressKey('2001:db8::1:2:3.4.5.6'), '2001:db8:0:0::/64')
  t.not(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'))
  t.equal(addressKey('::1'), '0:0:0:0::/64')
  t.equal(addressKey('::ffff:10.0.0.1'), '10.0.0.1')
  t.not(addressKey('10.0.0.1'), addressKey('10.0.0.2'))
})
