import type { Result, Results } from './results.ts'
import { counted, ratio, summarize } from './results.ts'

/** The results of a workload as Markdown: a row for each case and server, a column for each measure, a table for cases that share measures. */
export function tableOf(results: Results, workload: string): string {
  const found = results.of(workload)
  const cases = [...new Set(found.map(each => each.case))].map(title => found.filter(each => each.case === title))
  return related(cases)
    .map(({ rows, measures }) => {
      const head = ['case', 'server', ...measures, 'ours ÷ it']
      return grid([head, ...rows.map(row => rowOf(results, row, [...measures]))])
    })
    .join('\n\n')
}

interface Group {
  rows: Result[]
  measures: Set<string>
}

function related(cases: readonly Result[][]): Group[] {
  const groups: Group[] = []
  for (const rows of cases) {
    const measures = new Set(rows.flatMap(row => counted(row).flatMap(sample => Object.keys(sample))))
    const group = groups.find(each => [...measures].some(measure => each.measures.has(measure)))
    if (group === undefined) groups.push({ rows: [...rows], measures })
    else {
      group.rows.push(...rows)
      for (const measure of measures) group.measures.add(measure)
    }
  }
  return groups
}

function rowOf(results: Results, row: Result, measures: readonly string[]): string[] {
  const primary = Object.keys(counted(row)[0] ?? {})[0] ?? ''
  const compared = row.server === 'ours' ? undefined : ratio(results, row, row.server, primary)
  return [row.case, row.server, ...measures.map(measure => cellOf(row, measure)), compared === undefined ? '' : compared.toFixed(2)]
}

function cellOf(row: Result, measure: string): string {
  const found = summarize(row, measure)
  if (found === undefined) return ''
  const { median, least, most } = found
  const digits = digitsFor(Math.max(Math.abs(median), Math.abs(most) / 10))
  const middle = format(median, digits)
  return counted(row).length === 1 ? middle : `${middle} (${format(least, digits)}–${format(most, digits)})`
}

function digitsFor(value: number): number {
  if (value >= 100 || Number.isInteger(value)) return 0
  return value >= 10 ? 1 : 2
}

function format(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** Rows of cells as Markdown, the first row being the head; numbers stand to the right. */
export function grid([head = [], ...rows]: readonly string[][]): string {
  const widths = head.map((cell, at) => Math.max(3, cell.length, ...rows.map(row => row[at]?.length ?? 0)))
  const isNumber = (at: number) => rows.length > 0 && rows.every(row => /^[\d,.–() -]*$/.test(row[at] ?? ''))
  const pad = (cell: string, at: number) => (isNumber(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0))
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const rule = widths.map((width, at) => (isNumber(at) ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))
  return [line(head.map(pad)), line(rule), ...rows.map(row => line(row.map(pad)))].join('\n')
}
