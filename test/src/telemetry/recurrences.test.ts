import { test } from 'tap'
import { type Recurrence, Recurrences } from '../../../src/telemetry/recurrences.ts'
import { until } from '../support.ts'

function counting(maxKinds = 3, intervalMs = 3_600_000) {
  const reported: Recurrence<string>[] = []
  const others: number[] = []
  const recurrences = new Recurrences<string>(
    { intervalMs, maxKinds, maxKindsOfOrigin: 2 },
    each => reported.push(each),
    count => others.push(count)
  )
  return { recurrences, reported, others }
}

test('recurrences: the first of each kind is told at once, the others by their number with the fields of the last', async t => {
  const { recurrences, reported, others } = counting()
  t.strictSame([recurrences.count('a', '1', 'o'), recurrences.count('b', '2', 'o')], [true, true])
  for (const fields of ['3', '4', '5']) t.equal(recurrences.count('a', fields, 'o'), false)
  recurrences.flush()
  t.match(reported, [{ fields: '5', repeated: 3 }])
  t.strictSame([reported.length, others], [1, []])
})

test('recurrences: of any number of kinds those beyond the limit are counted together, and none is missing', async t => {
  const { recurrences, reported, others } = counting()
  const firsts = Array.from({ length: 1_000 }, (_, index) => recurrences.count(`${index}`, '', `${index}`)).filter(Boolean)
  recurrences.count('0', '', '0')
  recurrences.flush()
  t.equal(firsts.length, 3)
  t.strictSame(others, [997])
  t.equal(firsts.length + reported.reduce((sum, each) => sum + each.repeated, 0) + 997, 1_001)
})

test('recurrences: the next interval begins anew, with the first event', async t => {
  const { recurrences, reported } = counting()
  recurrences.count('a', '', 'o')
  recurrences.count('a', '', 'o')
  recurrences.flush()
  recurrences.flush()
  t.equal(reported.length, 1)
  t.equal(recurrences.count('a', '', 'o'), true)
})

test('recurrences: an interval ends by itself', async t => {
  const { recurrences, reported } = counting(3, 10)
  recurrences.count('a', '', 'o')
  recurrences.count('a', '', 'o')
  await until(() => reported.length === 1)
  t.equal(recurrences.count('a', '', 'o'), true)
})

test('recurrences: an origin with many kinds does not use up those of the others, and its own are counted', async t => {
  const { recurrences, reported, others } = counting(10)
  const firsts = Array.from({ length: 100 }, (_, index) => recurrences.count(`kind ${index}`, `${index}`, 'loud')).filter(Boolean)
  t.equal(firsts.length, 3)
  t.equal(recurrences.count('kind', 'quiet', 'quiet'), true)
  recurrences.flush()
  t.match(reported, [{ fields: '99', repeated: 97 }])
  t.strictSame(others, [])
})
