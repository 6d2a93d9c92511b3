import { test } from 'tap'
import { createTokenBuckets } from '../../../src/access/token-buckets.ts'

test('token buckets: after the burst a key waits until one token has refilled', async t => {
  let time = 0
  const buckets = createTokenBuckets({ burst: 2, refillMs: 1000 }, 10, () => time)
  t.equal(buckets.take('a'), undefined)
  t.equal(buckets.take('a'), undefined)
  t.equal(buckets.take('a'), 1000)
  t.equal(buckets.take('b'), undefined, 'another key is not concerned')
  time = 400
  t.equal(buckets.take('a'), 600)
  time = 1000
  t.equal(buckets.take('a'), undefined)
  t.equal(buckets.take('a'), 1000)
})

test('token buckets: a refunded token can be taken again, and tokens never exceed the burst', async t => {
  const buckets = createTokenBuckets({ burst: 1, refillMs: 1000 }, 10, () => 0)
  buckets.refund('a')
  t.equal(buckets.take('a'), undefined)
  t.equal(buckets.take('a'), 1000)
  buckets.refund('a')
  t.equal(buckets.take('a'), undefined)
})

test('token buckets: a clock that steps back neither frees nor locks a key', async t => {
  let time = 10_000
  const buckets = createTokenBuckets({ burst: 1, refillMs: 1000 }, 10, () => time)
  t.equal(buckets.take('a'), undefined)
  time = 0
  t.equal(buckets.take('a'), 1000)
  time = 1000
  t.equal(buckets.take('a'), undefined)
})

test('token buckets: several tokens are taken together or not at all, and more than the burst counts as the burst', async t => {
  const buckets = createTokenBuckets({ burst: 10, refillMs: 100 }, 10, () => 0)
  t.equal(buckets.take('a', 7), undefined)
  t.equal(buckets.take('a', 4), 100)
  t.equal(buckets.take('a', 3), undefined)
  t.equal(buckets.take('b', 1000), undefined)
  t.equal(buckets.take('b', 1), 100)
  buckets.refund('b', 1000)
  t.equal(buckets.take('b', 10), undefined)
})

test('token buckets: beyond the most keys the one used least recently is full again', async t => {
  const buckets = createTokenBuckets({ burst: 1, refillMs: 1000 }, 2, () => 0)
  for (const key of ['a', 'b', 'c']) buckets.take(key)
  t.equal(buckets.take('c'), 1000)
  t.equal(buckets.take('a'), undefined)
})
