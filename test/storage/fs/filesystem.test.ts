import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { test } from 'tap'
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { keysBelow, openStorage, textOf, walked } from '../../support/storage.ts'
import { storageContract } from '../contract.ts'

const bytes = (text: string): Buffer => Buffer.from(text)

test('the filesystem keeps the contract of storage', t => storageContract(t, { name: 'filesystem', open: openStorage, timeStepMs: 60 }))

test('filesystem: objects are there after the storage was closed and opened again', async t => {
  const root = await temporaryDirectory(t)
  const first = await FilesystemStorage.open(root)
  await first.put('a/b', bytes('whole'))
  const writer = await first.create('a/growing')
  await writer.write([bytes('half')])
  await writer.close()
  await first.close()
  const second = await openStorage(t, root)
  t.equal(await textOf(second, 'a/b'), 'whole')
  const resumed = await second.resume('a/growing')
  t.equal(resumed?.offset, 4)
  await resumed?.close()
})

test('filesystem: an object that is moved is as old as it was', async t => {
  const storage = await openStorage(t)
  await storage.put('a/from', bytes('x'))
  const before = await storage.stat('a/from')
  await storage.move('a/from', 'b/to')
  t.equal((await storage.stat('b/to'))?.modified, before?.modified)
})

test('filesystem: a root that does not exist is made, also deep, with a slash at its end, and relative', async t => {
  const place = await temporaryDirectory(t)
  for (const root of [join(place, 'x/y/z'), `${place}/slash/`, relative(process.cwd(), join(place, 'relative/root'))]) {
    const storage = await openStorage(t, root)
    await storage.put('a/b', bytes('x'))
    await storage.remove(['a/b'], 'a')
    await storage.put('a/c', bytes('x'))
    t.strictSame(await keysBelow(storage, 'a'), ['a/c'], root)
  }
})

test('filesystem: temp files of a process that died are gone after the next open, and nothing else is', async t => {
  const root = await temporaryDirectory(t)
  await mkdir(join(root, '.registry/tmp'), { recursive: true })
  await mkdir(join(root, 'docker/tmp'), { recursive: true })
  for (const path of ['.registry/tmp/left', '.registry/marks', 'docker/tmp/kept']) await writeFile(join(root, path), 'x')
  const storage = await openStorage(t, root)
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  t.equal(await textOf(storage, '.registry/marks'), 'x')
  t.equal(await textOf(storage, 'docker/tmp/kept'), 'x')
})

test('filesystem: a put that fails leaves no temp file', async t => {
  const storage = await openStorage(t)
  await storage.put('a/b', bytes('x'))
  await t.rejects(storage.put('a', bytes('y')), 'a directory stands there')
  await t.rejects(storage.put('a/b/c', bytes('y')), 'a file stands in the way')
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  t.equal(await textOf(storage, 'a/b'), 'x')
})

test('filesystem: what was a file can become a directory, and the other way round', async t => {
  const storage = await openStorage(t)
  await storage.put('top/a', bytes('file'))
  await t.rejects(storage.put('top/a/b', bytes('x')), { code: 'ENOTDIR' })
  await storage.remove(['top/a'], 'top')
  await storage.put('top/a/b', bytes('below'))
  t.equal(await textOf(storage, 'top/a/b'), 'below')
  await storage.remove(['top/a/b'], 'top')
  await storage.put('top/a', bytes('file again'))
  t.equal(await textOf(storage, 'top/a'), 'file again')
})

test('filesystem: directories that another program removed are created again', async t => {
  const storage = await openStorage(t)
  await storage.put('top/a/b/one', bytes('x'))
  await rm(join(storage.root, 'top'), { recursive: true })
  await storage.put('top/a/c/two', bytes('x'))
  const writer = await storage.create('top/a/d/three')
  await writer.publish('top/e/f/four')
  t.strictSame(await keysBelow(storage, 'top'), ['top/a/c/two', 'top/e/f/four'])
})

test('filesystem: a prefix that is ensured can be walked, and is listed', async t => {
  const storage = await openStorage(t)
  await storage.ensurePrefix('top/a/b')
  await storage.ensurePrefix('top/a/b')
  t.strictSame(await walked(storage, 'top/a'), [{ key: 'top/a/b', name: 'b', kind: 'prefix' }])
})

test('filesystem: walk passes over what is neither a file nor a directory', async t => {
  const storage = await openStorage(t)
  await storage.put('top/a', bytes('x'))
  await symlink('a', join(storage.root, 'top/link'))
  t.strictSame(
    (await walked(storage, 'top')).map(each => each.name),
    ['a']
  )
})

test('filesystem: nothing is written outside of the keys and .registry', async t => {
  const storage = await openStorage(t)
  await storage.put('docker/a', bytes('x'))
  const writer = await storage.create('docker/b')
  await writer.publish('docker/c')
  t.strictSame((await readdir(storage.root)).sort(), ['.registry', 'docker'])
})

test('filesystem: an object that several writers empty at once is counted as removed once', async t => {
  const storage = await openStorage(t)
  await storage.put('a', Buffer.alloc(5000))
  const { used } = await storage.usage()
  const writers = await Promise.all(Array.from({ length: 20 }, () => storage.create('a')))
  t.equal((await storage.usage()).used, used - 5000)
  for (const writer of writers) await writer.close()
})
