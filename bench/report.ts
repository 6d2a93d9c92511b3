import type { Workload } from './bench.ts'
import type { Results } from './results.ts'
import { grid, tableOf } from './table.ts'
import { describeVerdict, judge } from './targets.ts'

/** The tables of one workload in Markdown: what was measured, and what it was to be. */
export function reportOf(results: Results, { name }: Workload): string {
  const verdicts = judge(results, name).map(describeVerdict)
  const parts = [tableOf(results, name)]
  if (verdicts.length > 0) parts.push(grid([['case', 'target', 'bound', 'value', ''], ...verdicts]))
  const disturbed = results.of(name).reduce((sum, each) => sum + each.disturbed.length, 0)
  const all = results.of(name).reduce((sum, each) => sum + each.samples.length, disturbed)
  if (disturbed > 0)
    parts.push(
      `While ${disturbed} of ${all} figures were taken, other processes took much of the machine; they count only where there are no others.`
    )
  return parts.join('\n\n')
}
