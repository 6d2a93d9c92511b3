import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { test } from 'tap'
import { openRoot } from '../../../src/app/open-directory.ts'
import { bytesOf, folder, type Line, pushBlob, serve } from '../support.ts'

function logOf() {
  const lines: Line[] = []
  return { lines, log: pino({ level: 'info' }, { write: line => void lines.push(JSON.parse(line)) }) }
}

test('root: it is made when it is not there', async t => {
  const served = await serve(t, { root: join(folder(t), 'deep', 'er', 'root') })
  t.match(await pushBlob(served, 'a', bytesOf(3)), /^sha256:/)
})

test('root: registry data under local_data of an empty root is named in a warning with the setting that opens it', async t => {
  const root = folder(t)
  await mkdir(join(root, 'local_data/docker/registry/v2'), { recursive: true })
  const { lines, log } = logOf()
  await (await openRoot(root, log)).close()
  const legacy = join(root, 'local_data')
  t.match(lines, [{ level: 40, root, found: legacy, setting: `storage.filesystem.root: ${legacy}` }])
  t.equal(lines.length, 1)
})

test('root: local_data beside data of our own is no warning', async t => {
  const root = folder(t)
  for (const each of ['local_data/docker', 'docker']) await mkdir(join(root, each), { recursive: true })
  const { lines, log } = logOf()
  await (await openRoot(root, log)).close()
  t.strictSame(lines, [])
})

test('root: a root without any data is no warning', async t => {
  const { lines, log } = logOf()
  await (await openRoot(join(folder(t), 'new'), log)).close()
  t.strictSame(lines, [])
})

test('root: one that is a file is refused', async t => {
  const root = join(folder(t), 'file')
  await writeFile(root, '')
  await t.rejects(openRoot(root, logOf().log), { code: /^(ENOTDIR|EEXIST)$/ })
})

test('root: a second owner is refused with a line that names the first, and may have it afterwards', async t => {
  const root = folder(t)
  const first = await openRoot(root, logOf().log)
  await t.rejects(openRoot(root, logOf().log), { name: 'LockedError', message: new RegExp(`${root}.*pid ${process.pid} `) })
  await first.close()
  await (await openRoot(root, logOf().log)).close()
})
