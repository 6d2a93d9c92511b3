// The attack: a directory, a file name, a link or an ownership record that makes the installer, which runs as root, write or
// remove files outside of its root.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { install, restore } from '../../../src/install/install.ts'
import { ownDirectory } from '../../../src/install/owned.ts'
import { directoryOf, folder, optionsFor, snapshot } from './scene.ts'

for (const name of [
  '..',
  '',
  './a',
  '../out',
  '/etc',
  'a/../../out',
  'a//b',
  'a/',
  'a/.',
  '.deckhouse-registry',
  'a\u0000',
  '..:5001',
  'a%2Fb'
]) {
  test(`install: a directory called ${JSON.stringify(name)} is refused and nothing is written`, async t => {
    const place = await folder(t)
    await t.rejects(install([directoryOf(name, { x: '' })], optionsFor(join(place, 'root'))), /is not a directory below the root/)
    t.same(await snapshot(place), {})
  })
}

for (const name of ['..', '../out', '/etc/passwd', '', 'a/b', '.hidden']) {
  test(`install: a file called ${JSON.stringify(name)} is refused and nothing is written`, async t => {
    const place = await folder(t)
    await t.rejects(install([directoryOf('a', { [name]: '' })], optionsFor(join(place, 'root'))), /is not a file name/)
    t.same(await snapshot(place), {})
  })
}

for (const name of ['a', 'a/b']) {
  test(`install: a link in place of a directory on the way to ${name} is not followed, at install and at restore`, async t => {
    const place = await folder(t)
    const root = join(place, 'root')
    await mkdir(join(place, 'outside/b'), { recursive: true })
    await writeFile(join(place, 'outside/x'), 'theirs')
    await writeFile(join(place, 'outside/b/x'), 'theirs')
    await mkdir(join(root, ownDirectory), { recursive: true })
    await symlink('../outside', join(root, 'a'))
    const before = await snapshot(place)
    await t.rejects(install([directoryOf(name, { x: '' })], optionsFor(root)), /not followed/)
    t.same(await snapshot(place), before)
    const record = { version: 1, directories: { [name]: { made: true, files: ['x'] } } }
    await writeFile(join(root, ownDirectory, 'state.json'), JSON.stringify(record))
    await t.rejects(restore(optionsFor(root)), /not followed/)
    t.match(await snapshot(place), { 'outside/x': '644 theirs', 'outside/b/x': '644 theirs' })
  })
}

test('install: a link in place of a file is replaced, and its target stays', async t => {
  const place = await folder(t)
  const root = join(place, 'root')
  await writeFile(join(place, 'target'), 'theirs')
  await mkdir(join(root, 'a'), { recursive: true })
  await symlink('../../target', join(root, 'a/x'))
  const before = await snapshot(place)
  await install([directoryOf('a', { x: 'ours' })], optionsFor(root))
  t.match(await snapshot(place), { target: before['target'], 'root/a/x': '644 ours' })
  await restore(optionsFor(root))
  t.same(await snapshot(place), before)
})

for (const [name, file] of [
  ['..', 'victim'],
  ['a', '../../victim'],
  ['a/..', 'victim'],
  ['a/../..', 'victim']
] as const) {
  test(`restore: an ownership record that names ${name}/${file} removes nothing`, async t => {
    const place = await folder(t)
    const root = join(place, 'root')
    await writeFile(join(place, 'victim'), 'theirs')
    await mkdir(join(root, ownDirectory), { recursive: true })
    const record = { version: 1, directories: { [name]: { made: true, files: [file] } } }
    await writeFile(join(root, ownDirectory, 'state.json'), JSON.stringify(record))
    const before = await snapshot(place)
    await t.rejects(restore(optionsFor(root)), /is damaged/)
    t.same(await snapshot(place), before)
  })
}
