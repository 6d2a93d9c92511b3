// The attack: a host name or a link that makes the installer, which runs as root, write or remove files outside of its root.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { install, restore } from '../../../src/containerd/install.ts'
import { folder, snapshot } from '../install/scene.ts'
import { directory, fixed } from './scene.ts'

const files = [{ name: 'hosts.toml', text: '', mode: 0o644 }]

for (const name of ['..', '.', '', '../out', '/etc', 'a/../../out', 'a/b', '.deckhouse-registry', 'a\u0000', '..:5001']) {
  test(`a directory called ${JSON.stringify(name)} is refused and nothing is written`, async t => {
    const place = await folder(t)
    await t.rejects(install([{ name, files }], { root: join(place, 'root') }), /^directory: expected|directory:/)
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
