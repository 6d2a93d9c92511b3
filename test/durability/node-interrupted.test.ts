// The attack: an apply that ends between any two of its steps. By kill -9: test/durability/node.test.ts.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { applyNode } from '../../src/node/node.ts'
import { brokenBy } from '../src/node/can-pull.ts'
import {
  applied,
  bare,
  comparable,
  configured,
  direct,
  filesOnly,
  local,
  rootOf,
  snapshot,
  unmanaged,
  wantedOf,
  withoutContainerd
} from '../src/node/scene.ts'

/** The steps that a change has, or a node after so many of them. */
async function interrupted(root: string, settings: object | undefined, after: number): Promise<'done' | 'interrupted'> {
  let taken = 0
  for await (const _ of applyNode(settings && wantedOf(settings), filesOnly(root))) {
    if (++taken === after) return 'interrupted'
  }
  return 'done'
}

function copyOf(t: Test, root: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'node-copy-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  execFileSync('/bin/cp', ['-a', root, join(folder, 'root')])
  return join(folder, 'root')
}

async function everyInterruption(
  t: Test,
  prepare: (root: string) => Promise<unknown>,
  settings: object | undefined,
  files: Record<string, string>
) {
  withoutContainerd(t)
  const prepared = await rootOf(t, files)
  await prepare(prepared)
  const whole = copyOf(t, prepared)
  await applied(settings, filesOnly(whole))
  const expected = comparable(await snapshot(whole))
  let after = 0
  for (let state = 'interrupted'; state === 'interrupted'; ) {
    const root = copyOf(t, prepared)
    state = await interrupted(root, settings, ++after)
    t.equal(brokenBy(root), undefined, `after step ${after} the node can pull`)
    await applied(settings, filesOnly(root))
    t.same(comparable(await snapshot(root)), expected, `interrupted after step ${after}, it ends in the same state`)
    t.same(await applied(settings, filesOnly(root)), [], 'and then nothing is left to do')
  }
  t.ok(after > 4, `${after} steps`)
}

const nothing = async () => {}
const theirs = { 'etc/containerd/config.toml': '# mine\nversion = 2\n' }

test('apply: interrupted after any step of a first apply, the next one completes it', async t => {
  await everyInterruption(t, nothing, local, theirs)
})

test('apply: interrupted after any step of a change of the mode, the next one completes it', async t => {
  await everyInterruption(t, root => applied(local, filesOnly(root)), direct, configured)
})

test('apply: interrupted after any step from the agent to plain hosts, the next one completes it', async t => {
  await everyInterruption(t, root => applied(local, filesOnly(root)), { ...local, balancer: 'hosts' }, configured)
})

test('apply: interrupted after any step of leaving, with and without an upstream, the next one completes it', async t => {
  const prepare = (root: string) => applied(local, filesOnly(root))
  await everyInterruption(t, prepare, unmanaged, theirs)
  await everyInterruption(t, prepare, bare, theirs)
})

test('restore: interrupted after any step, the next one gives back what was there', async t => {
  await everyInterruption(t, root => applied(local, filesOnly(root)), undefined, theirs)
})

test('apply: what an interrupted run left beside a file is removed', async t => {
  const root = await rootOf(t, configured)
  await applied(local, filesOnly(root))
  const before = await snapshot(root)
  await appendFile(join(root, 'etc/kubernetes/manifests/.registry-proxy.yaml.registry.tmp'), 'half of a ma')
  t.same(await applied(local, filesOnly(root)), ['clean etc/kubernetes/manifests/.registry-proxy.yaml.registry.tmp'])
  t.same(await snapshot(root), before)
})
