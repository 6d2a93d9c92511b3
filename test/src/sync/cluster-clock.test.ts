import { test } from 'tap'
import { ClusterClock } from '../../../src/sync/cluster-clock.ts'
import { createTestClock } from '../../support/clock.ts'

const start = Date.UTC(2026, 0)

test('a clock that is ten minutes ahead does not count against two others, also while they cannot be asked', async t => {
  const clock = createTestClock(start + 600_000)
  const cluster = new ClusterClock(clock)
  t.equal(cluster.now(), start + 600_000, 'alone there is no other')
  cluster.observe('m1', start, clock.monotonic())
  cluster.observe('m2', start, clock.monotonic())
  t.equal(cluster.now(), start)
  t.equal(cluster.aheadOf('m1'), -600_000)
  await clock.advance(3_600_000)
  t.equal(cluster.now(), start + 3_600_000, 'an hour later in a partition')
  const restarted = new ClusterClock(clock, cluster.aheadMs)
  t.equal(restarted.now(), cluster.now(), 'and after a restart in it')
})

test('the answer took half of the way back, and two replicas agree on the mean', async t => {
  const clock = createTestClock(start)
  const cluster = new ClusterClock(clock)
  const askedAt = clock.monotonic()
  await clock.advance(100)
  cluster.observe('m2', start + 50 + 1_000, askedAt)
  t.equal(cluster.aheadOf('m2'), 1_000)
  t.equal(cluster.now(), start + 100 + 500)
  cluster.forget('m2')
})
