import { test } from 'tap'
import { Results, ratio, summarize } from '../../bench/results.ts'
import { tableOf } from '../../bench/table.ts'
import { judge } from '../../bench/targets.ts'

const title = 'HTTP, 4 clients'

function measured(mine: readonly number[], theirs: readonly number[]): Results {
  const results = new Results()
  for (const speed of mine) results.record('blob', title, 'ours', { 'MiB/s': speed }, 0)
  for (const speed of theirs) results.record('blob', title, 'docker-registry', { 'MiB/s': speed }, 0)
  return results
}

test('bench: a figure is the median of the rounds, with the least and the most beside it', async t => {
  const found = (...speeds: number[]) => {
    const result = measured(speeds, []).find('blob', title, 'ours')
    return result && summarize(result, 'MiB/s')
  }
  t.same(found(300, 100, 1000), { median: 300, least: 100, most: 1000 })
  t.same(found(100, 200), { median: 150, least: 100, most: 200 })
})

test('bench: a disturbed round counts only where there is no other', async t => {
  const results = measured([100], [])
  results.record('blob', title, 'ours', { 'MiB/s': 1 }, 1.5)
  results.record('blob', title, 'nginx', { 'MiB/s': 50 }, 1.5)
  const mine = results.find('blob', title, 'ours')
  t.same(mine && summarize(mine, 'MiB/s'), { median: 100, least: 100, most: 100 })
  t.equal(mine && ratio(results, mine, 'nginx', 'MiB/s'), 2)
})

test('bench: a target is met or not met by the ratio of the medians, and says so when it was not measured', async t => {
  const verdict = (mine: number[], theirs: number[]) => judge(measured(mine, theirs), 'blob').find(each => each.peer === 'docker-registry')
  t.match(verdict([125], [100]), { value: 1.25, met: true })
  t.match(verdict([124], [100]), { value: 1.24, met: false })
  t.match(verdict([124], []), { value: undefined, met: undefined })
})

test('bench: the table has a row for each server of a case, and the ratio in those of the peers', async t => {
  const rows = tableOf(measured([200, 100, 300], [100]), 'blob')
    .split('\n')
    .slice(2)
  t.same(
    rows.map(row =>
      row
        .split('|')
        .map(cell => cell.trim())
        .filter(Boolean)
    ),
    [
      [title, 'ours', '200 (100–300)'],
      [title, 'docker-registry', '100', '2.00']
    ]
  )
})
