import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import type { Test } from 'tap'
import { test } from 'tap'
import { containerdFiles, install, restore } from '../../../src/containerd/install.ts'
import { applySteps } from '../../../src/install/install.ts'
import type { OwnedDirectory } from '../../../src/install/owned.ts'
import { planInstall } from '../../../src/install/plan.ts'
import { folder, snapshot } from '../install/scene.ts'
import { directory, fixed, makeCa } from './scene.ts'

const ca = makeCa()
const first = [...directory(fixed, { ca }), ...directory('left.example.com', { ca }), ...directory('gone.example.com', { ca })]
const next = [...directory(fixed, { ca: makeCa(), host: '10.0.0.1:5001' }), ...directory('new.example.com', { ca })]

/** A root with foreign files in the place of owned ones of both installs. */
async function foreign(t: Test): Promise<string> {
  const root = await folder(t)
  for (const name of [fixed, 'left.example.com', 'other.example.com']) {
    await mkdir(join(root, name))
    await writeFile(join(root, name, 'hosts.toml'), `# ${name}\n[host]\n`)
  }
  return root
}

/** Applies so many steps of an install, as a process that is killed would. */
async function interrupt(root: string, directories: readonly OwnedDirectory[], after: number): Promise<'done' | 'interrupted'> {
  let count = 0
  const plan = await planInstall(root, directories, containerdFiles.refersToOthers)
  for await (const _ of applySteps(plan)) if (++count === after) return 'interrupted'
  return 'done'
}

/** Every `hosts.toml` can be read, and the CA files that it names are there. */
async function isReadable(root: string): Promise<boolean> {
  const paths = Object.keys(await snapshot(root)).filter(path => path.endsWith('hosts.toml') && !path.startsWith('.'))
  for (const path of paths) {
    const { ca: named = [] } = parse(await readFile(join(root, path), 'utf8')) as { ca?: string[] }
    for (const name of named) if (!(await readFile(join(root, path, '..', name), 'utf8')).includes('BEGIN CERTIFICATE')) return false
  }
  return paths.length > 0
}

async function everyInterruption(
  t: Test,
  prepare: (root: string) => Promise<void>,
  directories: OwnedDirectory[],
  check: (root: string) => Promise<void>
) {
  let after = 0
  for (let state = 'interrupted'; state === 'interrupted'; ) {
    const root = await foreign(t)
    await prepare(root)
    state = await interrupt(root, directories, ++after)
    t.ok(await isReadable(root), `after step ${after} containerd can read every file`)
    await check(root)
  }
  t.ok(after > 4, `${after} steps to interrupt at`)
}

test('an install interrupted between any two steps is finished by the next', async t => {
  const whole = await foreign(t)
  await install(first, { root: whole })
  await install(next, { root: whole })
  const expected = await snapshot(whole)
  const prepare = async (root: string) => void (await install(first, { root }))
  await everyInterruption(t, prepare, next, async root => {
    await install(next, { root })
    t.same(await snapshot(root), expected)
  })
})

test('after an install interrupted between any two steps restore gives everything back', async t => {
  const expected = await snapshot(await foreign(t))
  const prepare = async (root: string) => void (await install(first, { root }))
  await everyInterruption(t, prepare, next, async root => {
    await restore({ root })
    t.same(await snapshot(root), expected)
  })
})

test('a first install interrupted between any two steps leaves nothing that restore does not undo', async t => {
  const expected = await snapshot(await foreign(t))
  await everyInterruption(
    t,
    async () => {},
    first,
    async root => {
      await restore({ root })
      t.same(await snapshot(root), expected)
    }
  )
})

test('a restore interrupted between any two steps is finished by the next', async t => {
  const expected = await snapshot(await foreign(t))
  const prepare = async (root: string) => void (await install(first, { root }))
  await everyInterruption(t, prepare, [], async root => {
    await restore({ root })
    t.same(await snapshot(root), expected)
  })
})
