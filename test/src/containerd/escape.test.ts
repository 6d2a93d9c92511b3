// The attack: a host name, a link or a list that makes the installer, which runs as root, write or remove files outside its root.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { install, restore } from '../../../src/containerd/install.ts'
import { ownDirectory } from '../../../src/containerd/state.ts'
import { directory, fixed, folder, snapshot } from './scene.ts'

const files = [{ name: 'hosts.toml', text: '', mode: 0o644 }]

for (const name of ['..', '.', '', '../out', '/etc', 'a/../../out', 'a/b', '.deckhouse-registry', 'a\u0000', '..:5001']) {
  test(`a directory called ${JSON.stringify(name)} is refused and nothing is written`, async t => {
    const place = await folder(t)
    await t.rejects(install([{ name, files }], { root: join(place, 'root') }), /^directory: expected|directory:/)
    t.same(await snapshot(place), {})
  })
}

for (const name of ['..', '../out', '/etc/passwd', '', 'a/b', '.hidden']) {
  test(`a file called ${JSON.stringify(name)} is refused and nothing is written`, async t => {
    const place = await folder(t)
    await t.rejects(install([{ name: 'a', files: [{ name, text: '', mode: 0o644 }] }], { root: join(place, 'root') }), /is not a file name/)
    t.same(await snapshot(place), {})
  })
}

test("a link in place of a host's directory is not followed", async t => {
  const place = await folder(t)
  await mkdir(join(place, 'outside'))
  await mkdir(join(place, 'root'))
  await symlink('../outside', join(place, 'root', fixed))
  const before = await snapshot(place)
  await t.rejects(install(directory(fixed), { root: join(place, 'root') }), /not followed/)
  t.same(await snapshot(place), before)
})

test('a link in place of a file is replaced, and its target stays', async t => {
  const place = await folder(t)
  await writeFile(join(place, 'target'), 'theirs')
  await mkdir(join(place, 'root', fixed), { recursive: true })
  await symlink('../../target', join(place, 'root', fixed, 'hosts.toml'))
  const before = await snapshot(place)
  await install(directory(fixed), { root: join(place, 'root') })
  const between = await snapshot(place)
  t.equal(between['target'], before['target'])
  t.match(between[`root/${fixed}/hosts.toml`], /^644 /)
  await restore({ root: join(place, 'root') })
  t.same(await snapshot(place), before)
})

for (const [name, file] of [
  ['..', 'victim'],
  ['a', '../../victim'],
  ['a/..', 'victim']
] as const) {
  test(`a list of ours that names ${name}/${file} removes nothing`, async t => {
    const place = await folder(t)
    const root = join(place, 'root')
    await writeFile(join(place, 'victim'), 'theirs')
    await mkdir(join(root, ownDirectory), { recursive: true })
    const state = { version: 1, directories: { [name]: { made: true, files: [file] } } }
    await writeFile(join(root, ownDirectory, 'state.json'), JSON.stringify(state))
    const before = await snapshot(place)
    await t.rejects(restore({ root }), /is damaged/)
    t.same(await snapshot(place), before)
  })
}
