import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { install, restore } from '../../../src/containerd/install.ts'
import { folder, snapshot } from '../install/scene.ts'
import { directory, fixed, makeCa } from './scene.ts'

const old = '# theirs\n[host]\n'

async function write(path: string, text: string): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true })
  await writeFile(path, text)
}

test('install writes hosts.toml and the CA file below the host, and makes a root that is not there', async t => {
  const root = join(await folder(t), 'containerd/registry.d')
  const wanted = directory(fixed, { ca: makeCa(), auth: { username: 'ro', password: 'p' } })
  await install(wanted, { root })
  for (const { name, text, mode } of wanted[0]?.files ?? []) {
    const path = join(root, fixed, name)
    t.equal(await readFile(path, 'utf8'), text)
    t.equal((await stat(path)).mode & 0o777, mode)
  }
})

test('a host that leaves the list is removed, foreign directories stay', async t => {
  const root = await folder(t)
  await write(join(root, 'docker.io/hosts.toml'), old)
  await install([...directory('old.example.com', { ca: makeCa() }), ...directory(fixed)], { root })
  await install(directory(fixed), { root })
  const found = Object.keys(await snapshot(root)).filter(path => !path.startsWith('.'))
  t.same(found, ['docker.io', 'docker.io/hosts.toml', fixed, `${fixed}/hosts.toml`])
})

test('a CA file that is not needed any more is removed', async t => {
  const root = await folder(t)
  await install(directory(fixed, { ca: makeCa() }), { root })
  await install(directory(fixed), { root })
  t.notOk(Object.keys(await snapshot(root)).some(path => path.endsWith('.crt')))
})

test('restore gives back byte for byte what was there, whatever was installed in between', async t => {
  const root = await folder(t)
  await write(join(root, fixed, 'hosts.toml'), Buffer.from([0xff, 0xfe, 0x0a]).toString('latin1'))
  await writeFile(join(root, fixed, 'hosts.toml'), Buffer.from([0xff, 0xfe, 0x0a]), { mode: 0o640 })
  await symlink('/etc/ssl/theirs.crt', join(root, fixed, 'https-127.0.0.1:5001-ca.crt'))
  await mkdir(join(root, 'empty.example.com'))
  const before = await snapshot(root)
  await install(directory(fixed, { ca: makeCa() }), { root })
  await install([...directory(fixed), ...directory('empty.example.com')], { root })
  await install(directory(fixed, { ca: makeCa(), host: '10.0.0.1:5001' }), { root })
  await restore({ root })
  t.same(await snapshot(root), before)
})

test('restore without an install changes nothing', async t => {
  const root = await folder(t)
  await write(join(root, fixed, 'hosts.toml'), old)
  const before = await snapshot(root)
  await restore({ root })
  t.same(await snapshot(root), before)
})

test('only a plan: nothing is written and nothing removed', async t => {
  const root = await folder(t)
  await install(directory('old.example.com'), { root })
  await write(join(root, fixed, 'hosts.toml'), old)
  const before = await snapshot(root)
  const { changes } = await install(directory(fixed), { root, only: 'plan' })
  t.same(
    changes.map(({ kind, path }) => [kind, path]),
    [
      ['write', join(root, fixed, 'hosts.toml')],
      ['remove', join(root, 'old.example.com/hosts.toml')]
    ]
  )
  await restore({ root, only: 'plan' })
  t.same(await snapshot(root), before)
})

test('a directory that containerd prefers is a warning', async t => {
  const root = await folder(t)
  await write(join(root, 'registry.d8-system.svc_5001_/hosts.toml'), old)
  const { warnings } = await install(directory(fixed), { root })
  t.match(warnings, [/registry\.d8-system\.svc_5001_ is there/])
})
