import type { Workload } from './bench.ts'
import type { Results } from './results.ts'
import { grid, tableOf } from './table.ts'
import { describeVerdict, judge } from './targets.ts'

/** The tables of one workload in Markdown: what was measured, and what it was to be. */
export function reportOf(results: Results, { name }: Workload): string {
  const verdicts = judge(results, name).map(describeVerdict)
  const parts = [tableOf(results, name)]
  if (verdicts.length > 0) parts.push(grid([['case', 'target', 'bound', 'value', ''], ...verdicts]))
  return parts.join('\n\n')
}
