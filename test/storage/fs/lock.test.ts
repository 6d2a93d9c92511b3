import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { test } from 'tap'
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'
import { LockedError } from '../../../storage/fs/lock.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { openStorage } from '../../support/storage.ts'

const owner = fileURLToPath(new URL('owner.ts', import.meta.url))

/** Another process that owns `root`. */
async function startOwner(t: Test, root: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [owner, root], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = await once(child.stdout, 'data')
  if (String(line) !== 'open\n') throw new Error(String(line))
  return child
}

test('lock: a root that another process owns is refused, naming the owner', async t => {
  const root = await temporaryDirectory(t)
  const child = await startOwner(t, root)
  const error = await FilesystemStorage.open(root).then(
    () => undefined,
    error => error
  )
  t.ok(error instanceof LockedError)
  t.match(error.message, root)
  t.match(error.message, `pid ${child.pid} on `)
  t.match(error.owner, `pid ${child.pid} on `)
})

test('lock: a refused process leaves the temp files of the owner alone', async t => {
  const root = await temporaryDirectory(t)
  const storage = await openStorage(t, root)
  const writer = await storage.create('.registry/tmp/mine')
  await writer.write([Buffer.from('x')])
  const child = spawn(process.execPath, [owner, root], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [status] = await once(child, 'exit')
  t.not(status, 0)
  await writer.publish('a')
  t.equal((await storage.stat('a'))?.size, 1)
})

test('lock: a root whose owner was killed can be opened', async t => {
  const root = await temporaryDirectory(t)
  const child = await startOwner(t, root)
  await t.rejects(FilesystemStorage.open(root), { name: 'LockedError' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const storage = await openStorage(t, root)
  await storage.put('a', Buffer.from('x'))
  t.equal((await storage.get('a'))?.toString(), 'x')
})

test('lock: a root that is open in this process is refused, and can be opened once it was closed', async t => {
  const root = await temporaryDirectory(t)
  const first = await FilesystemStorage.open(root)
  await t.rejects(FilesystemStorage.open(root), { name: 'LockedError', owner: new RegExp(`pid ${process.pid} `) })
  await t.rejects(FilesystemStorage.open(root), { name: 'LockedError' }, 'a refusal does not break the lock')
  await first.close()
  const second = await FilesystemStorage.open(root)
  await second.close()
})

test('lock: two roots do not get in each other’s way', async t => {
  const [a, b] = [await openStorage(t), await openStorage(t)]
  await Promise.all([a.put('x', Buffer.from('a')), b.put('x', Buffer.from('b'))])
  t.equal((await a.get('x'))?.toString(), 'a')
})
