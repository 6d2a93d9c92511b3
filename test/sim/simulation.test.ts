import { test } from 'tap'
import { simulate } from './simulation.ts'

// The attack is everything at once: lost, doubled and late messages, partitions of one direction, processes that die in
// the middle of a write, wiped disks, old snapshots, clocks that jump by an hour, full disks, members that come and go.
const seeds = 30

test(`replicas agree: ${seeds} seeds of faults`, async t => {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violations } = await simulate(seed)
    t.same(violations, [], `node test/sim/main.ts --seed ${seed}`)
  }
})

test('a seed is the same simulation each time', async t => {
  const [one, other] = [await simulate(20), await simulate(20)]
  t.ok(one.messages > 100, 'replicas talked')
  t.same(one, other)
})
