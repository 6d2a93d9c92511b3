import { parseArgs } from 'node:util'
import { mutate, mutations } from './mutations.ts'

// node test/sim/main.ts [--seed N] [--count N] [--without RULE] [--first]: runs seeds from N on, and prints those that fail.
// One alone also tells its story. `--without` switches a rule off, `--first` ends at the first seed that fails.
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '1' },
    without: { type: 'string' },
    first: { type: 'boolean', default: false }
  }
})
const mutation = values.without === undefined ? undefined : mutations[values.without]
if (values.without !== undefined && !mutation) throw new Error(`no rule is called ${values.without}: ${Object.keys(mutations).join(', ')}`)
if (mutation) mutate(mutation)
// Only now, with the rule switched off.
const { simulate } = await import('./simulation.ts')

const [first, count] = [Number(values.seed), Number(values.count)]
let failed = 0
let seed = first
for (; seed < first + count && !(values.first && failed > 0); seed++) {
  const { violations, story, replicas, messages } = await simulate(seed)
  if (violations.length > 0) failed++
  if (violations.length === 0 && count > 1) continue
  if (count === 1) process.stdout.write(`${story.join('\n')}\n`)
  process.stdout.write(`seed ${seed}: ${replicas} replicas, ${messages} messages: ${violations.join(' | ') || 'all holds'}\n`)
}
process.stdout.write(`${seed - first} seeds, ${failed} failed\n`)
process.exitCode = failed > 0 ? 1 : 0
