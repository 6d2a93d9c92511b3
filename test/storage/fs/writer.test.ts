import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Directories } from '../../../storage/fs/directories.ts'
import { DiskIo } from '../../../storage/fs/disk-io.ts'
import { Files } from '../../../storage/fs/files.ts'
import { SyncPacer } from '../../../storage/fs/sync-pacing.ts'
import { UsageCounter } from '../../../storage/fs/usage-counter.ts'
import { FilesystemWriter } from '../../../storage/fs/writer.ts'
import { temporaryDirectory } from '../../support/place.ts'
import { turns } from '../contract-test.ts'

const piece = Buffer.alloc(1024 * 1024, 1)

/** A writer on a disk of which the `fails`th fdatasync, and no other, reports an error: so does the kernel. */
async function setUp(t: Test, fails: number) {
  const root = await temporaryDirectory(t)
  await mkdir(join(root, 'tmp'))
  let syncs = 0
  const failing = (handle: FileHandle): FileHandle =>
    new Proxy(handle, {
      get: (target, key) => {
        if (key !== 'datasync') {
          const value: unknown = Reflect.get(target, key)
          return typeof value === 'function' ? value.bind(target) : value
        }
        return async () => {
          if (++syncs === fails) throw Object.assign(new Error('the disk is gone'), { code: 'EIO' })
          await target.datasync()
        }
      }
    })
  const handle = failing(await open(join(root, 'tmp/a'), 'w+'))
  const disk = new DiskIo(async () => {})
  t.teardown(() => disk.close())
  const counted = { disk, counter: new UsageCounter({ used: { bytes: 0, inodes: 1 }, exact: true }, async () => {}) }
  const directories = new Directories(root, counted)
  const files = new Files(counted, directories)
  const context = { ...counted, directories, files, pacer: new SyncPacer(), path: (key: string) => join(root, key) }
  return { root, writer: new FilesystemWriter(context, 'tmp/a', handle, 0), syncs: () => syncs }
}

async function writeAll(writer: FilesystemWriter, pieces: number): Promise<void> {
  for (let at = 0; at < pieces; at++) await writer.write([piece])
}

test('writer: after a sync beside the writes failed, publishing fails and gives no name, though the last sync would succeed', async t => {
  const { root, writer, syncs } = await setUp(t, 1)
  await writeAll(writer, 4)
  await t.rejects(writer.publish('object'), { code: 'EIO' })
  t.equal(syncs(), 1, 'it was not tried again')
  await writer.discard()
  t.strictSame([await readdir(root), await readdir(join(root, 'tmp'))], [['tmp'], []])
})

test('writer: after a sync beside the writes failed, the next write fails', async t => {
  const { writer } = await setUp(t, 1)
  await writeAll(writer, 4)
  await turns(3)
  await t.rejects(writer.write([piece]), { code: 'EIO' })
  await writer.discard()
})

test('writer: after a sync beside the writes failed, close reports it and closes', async t => {
  const { writer } = await setUp(t, 1)
  await writeAll(writer, 4)
  await t.rejects(writer.close(), { code: 'EIO' })
  await t.rejects(writer.read(Buffer.alloc(1), 0), { code: 'EBADF' })
  await writer.discard()
})

test('writer: what was synced beside the writes is synced once more before it gets its name', async t => {
  const { root, writer, syncs } = await setUp(t, 0)
  await writeAll(writer, 4)
  await turns(3)
  t.equal(syncs(), 1)
  await writer.publish('object')
  t.equal(syncs(), 2)
  t.ok((await readdir(root)).includes('object'))
})
