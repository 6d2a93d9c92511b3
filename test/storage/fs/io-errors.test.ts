import { execFile } from 'node:child_process'
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { mountSmall, temporaryDirectory } from '../../support/place.ts'
import { keysBelow, openStorage, textOf } from '../../support/storage.ts'

const run = promisify(execFile)
const mebibyte = 1024 * 1024
const isRoot = process.getuid?.() === 0

test('a full disk: a put is refused with ENOSPC, leaves the object that was there, and no temp file', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const storage = await openStorage(t, small.directory)
  await storage.put('a/object', Buffer.from('old'))
  await t.rejects(storage.put('a/object', Buffer.alloc(2 * mebibyte)), { code: 'ENOSPC' })
  t.equal(await textOf(storage, 'a/object'), 'old')
  t.strictSame(await keysBelow(storage, '.registry/tmp'), [])
  await storage.put('a/object', Buffer.alloc(mebibyte / 2, 'n'))
  t.equal((await storage.stat('a/object'))?.size, mebibyte / 2, 'its bytes are free again')
})

test('a full disk: a writer is refused with ENOSPC, and discarding it frees its bytes', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const storage = await openStorage(t, small.directory)
  const writer = await storage.create('a/growing')
  await writer.write([Buffer.alloc(mebibyte / 4)])
  await t.rejects(writer.write([Buffer.alloc(mebibyte), Buffer.alloc(mebibyte)]), { code: 'ENOSPC' })
  await writer.discard()
  const { free } = await storage.usage()
  t.ok(free > mebibyte / 2, `${free} bytes are free`)
})

test('a full disk: a root can be opened, read and cleared', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const first = await FilesystemStorage.open(small.directory)
  await first.put('a', Buffer.from('sound'))
  const writer = await first.create('filling')
  for (let failed = false; !failed; ) {
    failed = await writer.write([Buffer.alloc(4096)]).then(
      () => false,
      () => true
    )
  }
  await writer.close()
  await first.close()
  const second = await openStorage(t, small.directory)
  t.equal(await textOf(second, 'a'), 'sound')
  await t.rejects(second.put('b', Buffer.alloc(8192)), { code: 'ENOSPC' })
  await second.remove(['filling'])
  await second.put('b', Buffer.alloc(8192))
  t.equal((await second.stat('b'))?.size, 8192)
})

test('a filesystem that is mounted read-only is opened and read, and every change is refused with EROFS', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  const first = await FilesystemStorage.open(small.directory)
  await first.put('a/b', Buffer.from('x'))
  await first.close()
  await small.remount('ro')
  const storage = await openStorage(t, small.directory)
  t.equal(await textOf(storage, 'a/b'), 'x')
  t.strictSame(await keysBelow(storage, 'a'), ['a/b'])
  await t.rejects(storage.put('a/b', Buffer.from('y')), { code: 'EROFS' })
  await t.rejects(storage.create('c/d'), { code: 'EROFS' })
  await t.rejects(storage.resume('a/b'), { code: 'EROFS' })
  await t.rejects(storage.remove(['a/b'], 'a'), { code: 'EROFS' })
  t.equal(await textOf(storage, 'a/b'), 'x')
})

test('a foreign tree on a filesystem that is mounted read-only can be opened', async t => {
  const small = await mountSmall(t, mebibyte)
  if (typeof small === 'string') return void t.pass('skipped', { skip: small })
  await writeFile(join(small.directory, 'object'), 'x')
  await small.remount('ro')
  const storage = await openStorage(t, small.directory)
  t.equal(await textOf(storage, 'object'), 'x')
})

test('a root that this user may not write is refused with EACCES', { skip: !isRoot && 'only root can become another user' }, async t => {
  const root = await temporaryDirectory(t)
  await chmod(root, 0o755)
  const attempt = run(process.execPath, [fileURLToPath(new URL('owner.ts', import.meta.url)), root], { uid: 65_534, gid: 65_534 })
  await t.rejects(attempt, /EACCES/)
})

test('a root of this user is opened whatever user owns the directories above it', {
  skip: !isRoot && 'only root can become another user'
}, async t => {
  const place = await temporaryDirectory(t)
  await chmod(place, 0o755)
  const root = join(place, 'root')
  await mkdir(root)
  await chown(root, 65_534, 65_534)
  const attempt = run(process.execPath, [fileURLToPath(new URL('owner.ts', import.meta.url)), root], { uid: 65_534, gid: 65_534 })
  attempt.child.stdin?.end()
  t.equal((await attempt).stdout, 'open\n')
})
