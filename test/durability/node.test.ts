// The attack: kill -9 after each step of an apply, and before the step after it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { brokenBy } from '../src/node/can-pull.ts'
import { applied, comparable, filesOnly, local, rootOf, snapshot, unmanaged } from '../src/node/scene.ts'

const theirs = { 'etc/containerd/config.toml': '# mine\nversion = 2\n' }
const victim = join(import.meta.dirname, 'node-victim.ts')

async function killed(root: string, file: string, step: number): Promise<boolean> {
  const child = spawn(process.execPath, [victim, root, file, String(step)], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [code, signal] = await once(child, 'exit')
  if (code !== 0 && signal !== 'SIGKILL') throw new Error(`the victim ended with ${code ?? signal}`)
  return signal === 'SIGKILL'
}

async function everyKill(t: Test, prepare: (root: string) => Promise<unknown>, settings: object | undefined) {
  const file = join(await rootOf(t), 'node.yaml')
  writeFileSync(file, settings ? stringify(settings) : '')
  const whole = await rootOf(t, theirs)
  await prepare(whole)
  await applied(settings, filesOnly(whole))
  const expected = comparable(await snapshot(whole))
  let step = 1
  for (; ; step++) {
    const root = await rootOf(t, theirs)
    await prepare(root)
    const dead = await killed(root, file, step)
    t.equal(brokenBy(root), undefined, `killed after step ${step}, the node can pull`)
    // The lock of the dead process is no obstacle.
    await applied(settings, filesOnly(root))
    t.same(comparable(await snapshot(root)), expected, `killed after step ${step}, it ends in the same state`)
    if (!dead) break
  }
  t.ok(step > 10, `${step} steps`)
}

test('registry node apply: killed after any step, the next one completes it', async t => {
  await everyKill(t, async () => {}, local)
})

test('registry node apply: killed after any step of a change to an upstream, the next one completes it', async t => {
  await everyKill(t, root => applied(local, filesOnly(root)), unmanaged)
})

test('registry node restore: killed after any step, the next one gives back what was there', async t => {
  await everyKill(t, root => applied(local, filesOnly(root)), undefined)
})
