import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Workload } from './bench.ts'
import type { Machine } from './machine.ts'
import type { Present } from './servers/present.ts'

const file = join(import.meta.dirname, '../docs/benchmarks.md')

/** Puts tables into docs/benchmarks.md between their markers; everything else there is written by hand and stays. */
export async function writeDocument(
  machine: Machine,
  { missing }: Present,
  reports: readonly { workload: Workload; report: string }[]
): Promise<void> {
  let text = await readFile(file, 'utf8')
  text = replace(text, 'machine', describe(machine, missing))
  const { date, rounds, size } = machine
  const how = `${date}, ${rounds} rounds${size === 'quick' ? ', blobs of 256 MiB' : ''}`
  for (const { workload, report } of reports) text = replace(text, workload.name, `${workload.about}\n\n${report}\n\n${how}.`)
  await writeFile(file, text)
}

function replace(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no ${begin} with ${end} after it`)
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`
}

function describe({ date, cpu, cores, memoryGiB, kernel, versions }: Machine, missing: readonly string[]): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  const absent = missing.length > 0 ? `\nMissing: ${missing.join('; ')}.` : ''
  return `${date}: ${cores} cores (${cpu}), ${memoryGiB} GiB, Linux ${kernel}.\n${programs.join(', ')}.${absent}`
}
