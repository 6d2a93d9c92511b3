import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { repeat, scale, seed } from '../long/scale.ts'
import { mutations } from '../sim/mutations.ts'
import { simulate } from '../sim/simulation.ts'

const run = promisify(execFile)
const main = join(import.meta.dirname, '../sim/main.ts')

test(`replicas agree: ${scale.simulations} seeds of faults (${repeat})`, { timeout: 0 }, async t => {
  // Seeds of their own in each run, so that more and more are tried.
  const first = 1_000 + (seed % 1_000_000) * 1_000
  for (let each = first; each < first + scale.simulations; each++) {
    const { violations } = await simulate(each)
    if (violations.length > 0) t.same(violations, [], `node test/sim/main.ts --seed ${each}`)
  }
  t.pass('all seeds hold')
})

// The simulation is worth what it finds.
for (const [name, { rule }] of Object.entries(mutations)) {
  test(`without the rule that ${rule}, a seed fails`, { timeout: 0 }, async t => {
    const found = await run(process.execPath, [main, '--without', name, '--first', '--count', '2000']).catch(error => error)
    const [, failing] =
      /^seed (\d+): .*(?:completeness|resurrection|convergence|durability|register|monotonic reads|true 404)/m.exec(found.stdout) ?? []
    t.ok(failing, 'a seed fails')
    t.same((await simulate(Number(failing))).violations, [], 'and holds with the rule')
  })
}
