import { parseArgs } from 'node:util'

/** How the benchmark was called. */
export interface Options {
  /** Names of workloads; all of them if there are none. */
  only: readonly string[]
  format: 'tables' | 'json'
  size: 'full' | 'quick'
  rounds: number
  /** The `dist/src/main.js` of another build, compared with this one in place of the peers. */
  before?: string
  /** Whether docs/benchmarks.md gets the tables. */
  document: 'write' | 'leave'
}

/** Printed for --help. */
export const usage = `npm run bench -- [--only WORKLOAD[,WORKLOAD]] [--rounds N] [--quick] [--before SCRIPT] [--json] [--write]
  --only    these workloads and no others
  --rounds  how often each server does each of them (3; with --quick 2)
  --quick   blobs of 256 MiB in place of 1 GiB
  --before  compares with another build of the registry, by its dist/src/main.js, and with no peer
  --json    every sample, for machines
  --write   puts the tables of what was measured into docs/benchmarks.md
`

/** Reads the arguments; undefined when help was asked for. */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      before: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) return undefined
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 3))
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is an integer of at least 1')
  return {
    only: values.only.flatMap(each => each.split(',')),
    format: values.json ? 'json' : 'tables',
    size: values.quick ? 'quick' : 'full',
    rounds,
    ...(values.before === undefined ? {} : { before: values.before }),
    document: values.write ? 'write' : 'leave'
  }
}
