import { mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { install, restore } from '../../../src/install/install.ts'
import { directoryOf, folder, optionsFor, snapshot } from './scene.ts'

const node = [
  directoryOf('.', { 'registry.yaml': 'static pod' }),
  directoryOf('pki/registry', { 'ca.crt': 'ca', 'server.key': 'key' }),
  directoryOf('containerd.service.d', { 'registry.conf': 'drop-in' })
]

test('install: files of the root itself and of nested directories are written, and restore removes the directories that it made', async t => {
  const root = await folder(t)
  await mkdir(join(root, 'pki'))
  const before = await snapshot(root)
  await install(node, optionsFor(root))
  const { '.deckhouse-registry': _, '.deckhouse-registry/state.json': __, ...written } = await snapshot(root)
  t.same(written, {
    ...before,
    'containerd.service.d': 'directory',
    'containerd.service.d/registry.conf': '644 drop-in',
    'pki/registry': 'directory',
    'pki/registry/ca.crt': '644 ca',
    'pki/registry/server.key': '644 key',
    'registry.yaml': '644 static pod'
  })
  await restore(optionsFor(root))
  t.same(await snapshot(root), before)
})

test('install: nested directories that it made are removed, parents after children', async t => {
  const root = await folder(t)
  await install([directoryOf('a/b/c', { x: '1' }), directoryOf('a', { y: '2' })], optionsFor(root))
  await install([directoryOf('a', { y: '2' })], optionsFor(root))
  t.same(
    Object.keys(await snapshot(root)).filter(path => !path.startsWith('.')),
    ['a', 'a/y']
  )
  await restore(optionsFor(root))
  t.same(await snapshot(root), {})
})

test('install: a file that refers to others is written after them and removed before them, whatever the order given', async t => {
  const root = await folder(t)
  const options = optionsFor(root)
  const paths = ({ changes }: Awaited<ReturnType<typeof install>>) =>
    changes.map(({ kind, path }) => `${kind} ${path.slice(root.length + 1)}`)
  t.same(paths(await install(node, options)), [
    'write pki/registry/ca.crt',
    'write pki/registry/server.key',
    'write containerd.service.d/registry.conf',
    'write registry.yaml'
  ])
  t.equal(paths(await restore({ ...options, only: 'plan' }))[0], 'remove registry.yaml')
})

test('install: a foreign file of the root and one of the same name in a directory are both given back', async t => {
  const root = await folder(t)
  await writeFile(join(root, 'a'), 'theirs')
  await mkdir(join(root, 'b'))
  await writeFile(join(root, 'b/a'), 'theirs too')
  const before = await snapshot(root)
  await install([directoryOf('.', { a: 'ours' }), directoryOf('b', { a: 'ours' })], optionsFor(root))
  await restore(optionsFor(root))
  t.same(await snapshot(root), before)
})

test('install: no temp file is left', async t => {
  const root = await folder(t)
  await install(node, optionsFor(root))
  t.same(
    Object.keys(await snapshot(root)).filter(path => path.endsWith('.tmp')),
    []
  )
})

test('install: a second install of the same files changes nothing', async t => {
  const root = await folder(t)
  await install(node, optionsFor(root))
  const inodes = async () =>
    Promise.all(
      Object.keys(await snapshot(root)).map(async path => [
        path,
        (await stat(join(root, path))).ino,
        (await stat(join(root, path))).ctimeMs
      ])
    )
  const before = await inodes()
  t.same((await install(node, optionsFor(root))).changes, [])
  t.same(await inodes(), before)
})

test('install: an owned file that was changed or removed by others is written again', async t => {
  const root = await folder(t)
  await install(node, optionsFor(root))
  const before = await snapshot(root)
  await writeFile(join(root, 'registry.yaml'), 'other')
  await rm(join(root, 'pki/registry/ca.crt'))
  await install(node, optionsFor(root))
  t.same(await snapshot(root), before)
})

test('install: a file that leaves a directory is removed', async t => {
  const root = await folder(t)
  await install([directoryOf('a', { x: '1', y: '2' })], optionsFor(root))
  await install([directoryOf('a', { x: '1' })], optionsFor(root))
  t.notOk(Object.keys(await snapshot(root)).includes('a/y'))
})

test('install: a foreign file in a directory that leaves stays, and the directory with it', async t => {
  const root = await folder(t)
  await install([directoryOf('a', { x: '1' })], optionsFor(root))
  await writeFile(join(root, 'a/client.pem'), 'theirs')
  await install([], optionsFor(root))
  t.same(
    Object.keys(await snapshot(root)).filter(path => !path.startsWith('.')),
    ['a', 'a/client.pem']
  )
})

test('restore: foreign files and links are given back byte for byte, whatever was installed in between', async t => {
  const root = await folder(t)
  await mkdir(join(root, 'a'))
  await writeFile(join(root, 'a/x'), Buffer.from([0xff, 0xfe, 0x0a]), { mode: 0o640 })
  await symlink('/etc/ssl/theirs.crt', join(root, 'a/y'))
  await mkdir(join(root, 'empty'))
  const before = await snapshot(root)
  await install([directoryOf('a', { x: '1', y: '2' })], optionsFor(root))
  await install([directoryOf('a', { x: '1' }), directoryOf('empty', { z: '3' })], optionsFor(root))
  await install([directoryOf('a', { x: '4', y: '5' })], optionsFor(root))
  await restore(optionsFor(root))
  t.same(await snapshot(root), before)
})

test('restore: a foreign file that was equal to the owned one is given back', async t => {
  const root = await folder(t)
  await mkdir(join(root, 'a'))
  await writeFile(join(root, 'a/x'), '1')
  const before = await snapshot(root)
  await install([directoryOf('a', { x: '1' })], optionsFor(root))
  await restore(optionsFor(root))
  t.same(await snapshot(root), before)
})

test('install: the ownership record has the form that earlier versions read and write', async t => {
  const root = await folder(t)
  await mkdir(join(root, 'b:5001'))
  await install([directoryOf('b:5001', { x: '1' }), directoryOf('a', { z: '1', y: '1' })], optionsFor(root))
  t.same(JSON.parse(await readFile(join(root, '.deckhouse-registry/state.json'), 'utf8')), {
    version: 1,
    directories: { a: { made: true, files: ['y', 'z'] }, 'b:5001': { made: false, files: ['x'] } }
  })
})
