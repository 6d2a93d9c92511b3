import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { test } from 'tap'
import { temporaryDirectory } from '../../support/place.ts'

const run = promisify(execFile)

/**
 * The system calls of a process that runs `program` on a new root: renames and fsyncs in the order in which they ended,
 * with paths.
 */
async function traced(t: Test, root: string, program: string): Promise<string[] | string> {
  const log = join(await temporaryDirectory(t), 'log')
  const calls = 'trace=fsync,fdatasync,rename,renameat,renameat2'
  const script = `import { FilesystemStorage } from ${JSON.stringify(fileURLToPath(new URL('../../../storage/fs/filesystem.ts', import.meta.url)))}
    const storage = await FilesystemStorage.open(${JSON.stringify(root)})
    ${program}
    await storage.close()`
  try {
    await run('strace', ['-f', '-qq', '-y', '-e', calls, '-o', log, process.execPath, '--input-type=module', '-e', script])
  } catch (error) {
    const reason = error as { code?: unknown; stderr?: string }
    if (reason.code === 'ENOENT' || /ptrace/i.test(reason.stderr ?? '')) return 'system calls cannot be traced here'
    throw error
  }
  return (await readFile(log, 'utf8')).split('\n')
}

const synced = (lines: string[], path: string): number => lines.findIndex(line => /f(data)?sync\(/.test(line) && line.includes(`<${path}>`))

test('durable: a root that is made is named durably, and so is every directory above it that is new', async t => {
  const place = await temporaryDirectory(t)
  const lines = await traced(t, join(place, 'new/root'), '')
  if (typeof lines === 'string') return void t.pass('skipped', { skip: lines })
  for (const path of [place, join(place, 'new'), join(place, 'new/root')]) t.not(synced(lines, path), -1, `fsync of ${path}`)
})

test('durable: a put resolves after fsync of the bytes, the rename, and fsync of each directory that is new, in this order', async t => {
  const root = await temporaryDirectory(t)
  const lines = await traced(t, root, `await storage.put('a/b/object', Buffer.from('x'))`)
  if (typeof lines === 'string') return void t.pass('skipped', { skip: lines })
  const bytes = lines.findIndex(line => /f(data)?sync\(.*\.registry\/tmp\//.test(line))
  const renamed = lines.findIndex(line => line.includes('rename') && line.includes(join(root, 'a/b/object')))
  const last = lines.findLastIndex(line => line.includes('fsync(') && line.includes(`<${join(root, 'a/b')}>`))
  t.ok(bytes !== -1 && bytes < renamed, 'the bytes before the name')
  t.ok(renamed < last, 'the name before the end')
  for (const path of [root, join(root, 'a')]) t.not(synced(lines, path), -1, `fsync of ${path}`)
})

test('durable: a removal resolves after fsync of the directory that stays', async t => {
  const root = await temporaryDirectory(t)
  const lines = await traced(
    t,
    root,
    `await storage.put('a/b/object', Buffer.from('x'))
    await storage.remove(['a/b/object'], 'a')`
  )
  if (typeof lines === 'string') return void t.pass('skipped', { skip: lines })
  t.equal(
    lines.filter(line => line.includes('fsync(') && line.includes(`<${join(root, 'a')}>`)).length,
    2,
    'once for what came, once for what went'
  )
})
