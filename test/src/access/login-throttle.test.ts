import { test } from 'tap'
import { addressKey, createLoginThrottle } from '../../../src/access/login-throttle.ts'

test('throttle: after the burst an address waits until one attempt has refilled', async t => {
  let time = 0
  const throttle = createLoginThrottle({ burst: 2, refillMs: 1000, maxAddresses: 10 }, () => time)
  t.equal(throttle.take('10.0.0.1'), undefined)
  t.equal(throttle.take('10.0.0.1'), undefined)
  t.equal(throttle.take('10.0.0.1'), 1000)
  t.equal(throttle.take('10.0.0.2'), undefined, 'another address is not throttled')
  time = 400
  t.equal(throttle.take('10.0.0.1'), 600)
  time = 1000
  t.equal(throttle.take('10.0.0.1'), undefined)
  t.equal(throttle.take('10.0.0.1'), 1000)
})

test('throttle: a refunded attempt can be taken again, and attempts never exceed the burst', async t => {
  const throttle = createLoginThrottle({ burst: 1, refillMs: 1000, maxAddresses: 10 }, () => 0)
  throttle.refund('a')
  t.equal(throttle.take('a'), undefined)
  t.equal(throttle.take('a'), 1000)
  throttle.refund('a')
  t.equal(throttle.take('a'), undefined)
})

test('throttle: a clock that steps back neither frees nor locks an address', async t => {
  let time = 10_000
  const throttle = createLoginThrottle({ burst: 1, refillMs: 1000, maxAddresses: 10 }, () => time)
  t.equal(throttle.take('a'), undefined)
  time = 0
  t.equal(throttle.take('a'), 1000)
  time = 1000
  t.equal(throttle.take('a'), undefined)
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
