import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { applySteps, install, restore } from '../../../src/install/install.ts'
import { type OwnedDirectory, ownDirectory } from '../../../src/install/owned.ts'
import { planInstall } from '../../../src/install/plan.ts'
import { directoryOf, folder, optionsFor, snapshot } from './scene.ts'

const first = [
  directoryOf('.', { 'registry.yaml': '1' }),
  directoryOf('pki/registry', { 'ca.crt': '1' }),
  directoryOf('a', { x: '1', y: '1' })
]
const next = [directoryOf('.', { 'registry.yaml': '2' }), directoryOf('pki/other', { 'ca.crt': '2' }), directoryOf('a', { x: '2' })]

/** A root with foreign files in the place of owned ones of both installs. */
async function foreign(t: Test): Promise<string> {
  const root = await folder(t)
  await writeFile(join(root, 'registry.yaml'), 'theirs')
  for (const name of ['pki/other', 'a']) {
    await mkdir(join(root, name), { recursive: true })
    await writeFile(join(root, name, name === 'a' ? 'y' : 'ca.crt'), 'theirs')
  }
  return root
}

/** Applies so many steps of an install, as a process that is killed would. */
async function interrupt(root: string, directories: readonly OwnedDirectory[], after: number): Promise<'done' | 'interrupted'> {
  let count = 0
  const plan = await planInstall(root, directories, optionsFor(root).refersToOthers)
  for await (const _ of applySteps(plan)) if (++count === after) return 'interrupted'
  return 'done'
}

async function everyInterruption(
  t: Test,
  prepare: (root: string) => Promise<unknown>,
  directories: OwnedDirectory[],
  check: (root: string) => Promise<void>
) {
  let after = 0
  for (let state = 'interrupted'; state === 'interrupted'; ) {
    const root = await foreign(t)
    await prepare(root)
    state = await interrupt(root, directories, ++after)
    await check(root)
  }
  t.ok(after > 4, `${after} steps to interrupt at`)
}

test('install: interrupted between any two steps, it is completed by the next install', async t => {
  const whole = await foreign(t)
  await install(first, optionsFor(whole))
  await install(next, optionsFor(whole))
  const expected = await snapshot(whole)
  const prepare = (root: string) => install(first, optionsFor(root))
  await everyInterruption(t, prepare, next, async root => {
    await install(next, optionsFor(root))
    t.same(await snapshot(root), expected)
  })
})

test('install: interrupted between any two steps, it is undone by a restore', async t => {
  const expected = await snapshot(await foreign(t))
  const prepare = (root: string) => install(first, optionsFor(root))
  for (const directories of [first, next, []]) {
    await everyInterruption(t, directories === first ? async () => {} : prepare, directories, async root => {
      await restore(optionsFor(root))
      t.same(await snapshot(root), expected)
    })
  }
})

test('install: temp files of an interrupted install are removed by the next', async t => {
  const root = await folder(t)
  await install(first, optionsFor(root))
  const before = await snapshot(root)
  await mkdir(join(root, ownDirectory, 'tmp'), { recursive: true })
  await writeFile(join(root, ownDirectory, 'tmp/half.tmp'), '{ "vers')
  await install(first, optionsFor(root))
  const { [`${ownDirectory}/tmp`]: _, ...rest } = before
  t.same(await snapshot(root), rest)
})

test('install: a damaged ownership record stops every install before anything is touched', async t => {
  const root = await folder(t)
  await install(first, optionsFor(root))
  for (const text of ['', '{"version":1,"dire', '{"version":2,"directories":{}}', '{"version":1,"directories":[]}']) {
    await writeFile(join(root, ownDirectory, 'state.json'), text)
    const before = await snapshot(root)
    await t.rejects(install(next, optionsFor(root)), /state\.json is damaged/)
    await t.rejects(restore(optionsFor(root)), /state\.json is damaged/)
    t.same(await snapshot(root), before)
  }
})
