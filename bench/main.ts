import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must } from '../test/e2e/command.ts'
import { makePki } from '../test/e2e/pki.ts'
import type { Bench, Workload } from './bench.ts'
import { GIB } from './bench.ts'
import { writeDocument } from './document.ts'
import { describeMachine } from './machine.ts'
import type { Options } from './options.ts'
import { readOptions, usage } from './options.ts'
import { Others } from './others.ts'
import { reportOf } from './report.ts'
import { mostOthers, Results } from './results.ts'
import { findPresent } from './servers/present.ts'
import { judge } from './targets.ts'
import { workloads } from './workloads/all.ts'

const options = readOptions(process.argv.slice(2))
if (options === undefined) process.stdout.write(`${usage}workloads: ${workloads.map(({ name }) => name).join(', ')}\n`)
else await main(options)

async function main(options: Options): Promise<void> {
  const chosen = choose(options.only)
  const say = (text: string) => void process.stderr.write(`${text}\n`)
  await must('npm', ['run', '-s', 'build'], { cwd: join(import.meta.dirname, '..') })
  const present = await findPresent(options.before)
  for (const each of present.missing) say(`missing: ${each}`)
  const folder = await mkdtemp(join(tmpdir(), 'registry-bench-'))
  // Whatever ends it: the disk is not left full.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  const large = options.size === 'quick' ? GIB / 4 : GIB
  const results = new Results()
  const bench: Bench = { folder, pki: await makePki(folder), present, rounds: options.rounds, large, results, say }
  const ran: Workload[] = []
  for (const workload of chosen) {
    const absent = workload.tools.filter(tool => present.versions[tool] === undefined)
    if (absent.length > 0) {
      say(`${workload.name}: left out, it needs ${absent.join(', ')}`)
      continue
    }
    say(`== ${workload.title}`)
    const others = new Others()
    await workload.run(bench, (title, server, sample) => {
      const cores = others.lap()
      if (cores > mostOthers) say(`others took ${cores.toFixed(2)} cores meanwhile`)
      results.record(workload.name, title, server, sample, cores)
    })
    ran.push(workload)
  }
  const machine = await describeMachine(present, options)
  if (options.format === 'json') {
    const verdicts = ran.flatMap(({ name }) => judge(results, name))
    process.stdout.write(
      `${JSON.stringify({ ...machine, missing: present.missing, results: results.all, targets: verdicts }, undefined, 2)}\n`
    )
  } else for (const each of ran) process.stdout.write(`\n## ${each.title}\n\n${reportOf(results, each)}\n`)
  if (options.document === 'write')
    await writeDocument(
      machine,
      present,
      ran.map(each => ({ workload: each, report: reportOf(results, each) }))
    )
}

function choose(only: readonly string[]): readonly Workload[] {
  const unknown = only.find(name => !workloads.some(each => each.name === name))
  if (unknown !== undefined) throw new Error(`no workload is called ${unknown}: ${workloads.map(({ name }) => name).join(', ')}`)
  return only.length === 0 ? workloads : workloads.filter(({ name }) => only.includes(name))
}
