// The attack: a disk that fills up in the middle of an apply, /etc that cannot be written, and a second apply at the same time.
import { execFileSync } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { applyNode } from '../../../src/node/node.ts'
import { lockDirectory } from '../../../storage/fs/lock.ts'
import { cannotMount } from '../api/small-disk.ts'
import { brokenBy } from './can-pull.ts'
import { applied, configured, filesOnly, local, proxy, put, rootOf, snapshot, wantedOf } from './scene.ts'

/** Mounts a file system on a directory of the node until the test ends. */
async function mounted(t: Test, path: string, options: string): Promise<void> {
  await mkdir(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path], { stdio: 'pipe' })
  t.teardown(() => execFileSync('umount', ['--lazy', path], { stdio: 'pipe' }))
}

test('apply: a disk that is full at any file fails the step and names the file; the node pulls on', { skip: cannotMount }, async t => {
  const failed = new Set<string>()
  for (let pages = 0; ; pages++) {
    const root = await rootOf(t)
    await mounted(t, join(root, 'etc'), `size=${256 * 1024}`)
    await put(root, 'etc/containerd/config.toml', configured['etc/containerd/config.toml'])
    // A tmpfs gives whole pages.
    await put(root, 'etc/filler', 'x'.repeat(4096 * (62 - pages)))
    const error = await applied(local, filesOnly(root)).then(
      () => undefined,
      (reason: Error) => reason
    )
    t.equal(brokenBy(root), undefined)
    if (error === undefined) break
    const [, file = ''] = /^step \d+ of \d+, write (\S+): .*: the disk is full\n/.exec(error.message) ?? []
    t.not(file, '', error.message)
    failed.add(file)
    const { 'etc/filler': _, ...left } = await snapshot(root)
    t.notOk(
      Object.keys(left).some(path => path.endsWith('.tmp')),
      'no half of a file is left'
    )
    execFileSync('rm', [join(root, 'etc/filler')])
    await applied(local, filesOnly(root))
    t.same(await applied(local, filesOnly(root)), [])
  }
  t.ok(failed.size > 10, `${failed.size} files`)
})

test('apply: where /etc is read-only the step says so, and nothing of it changes', { skip: cannotMount }, async t => {
  const root = await rootOf(t)
  await mounted(t, join(root, 'etc'), 'size=1m')
  await put(root, 'etc/containerd/config.toml', configured['etc/containerd/config.toml'])
  await applied(local, filesOnly(root))
  execFileSync('mount', ['-o', 'remount,ro', join(root, 'etc')], { stdio: 'pipe' })
  const before = await snapshot(join(root, 'etc'))
  await t.rejects(applied(proxy, filesOnly(root)), /^step \d+ of \d+, write \/etc\/kubernetes\/registry\/upstream-license: .*read-only/)
  t.same(await snapshot(join(root, 'etc')), before)
  t.equal(brokenBy(root), undefined)
  t.same(await applied(local, filesOnly(root)), ['record'], 'and what is there already needs no writing but in the record')
})

test('apply: a second one at the same time says which one runs, and changes nothing', async t => {
  const root = await rootOf(t, configured)
  await mkdir(join(root, 'run/registry-node'), { recursive: true })
  const unlock = lockDirectory(join(root, 'run/registry-node'))
  const before = await snapshot(root)
  await t.rejects(
    applied(local, filesOnly(root)),
    new RegExp(`another process changes this node \\(pid ${process.pid} on .*\\): wait for its end`)
  )
  t.same(await snapshot(root), before)
  unlock()
  await applied(local, filesOnly(root))
  t.ok((await readFile(join(root, 'etc/kubernetes/manifests/registry-proxy.yaml'), 'utf8')).length > 0)
})

test('apply: what was changed between its plan and its lock is seen', async t => {
  const root = await rootOf(t, configured)
  const steps = applyNode(wantedOf(local), filesOnly(root))
  await steps.next()
  await applied(undefined, filesOnly(root)).catch(() => {})
  await t.rejects(applied(proxy, filesOnly(root)), /another process changes this node/)
  for await (const _ of steps);
  t.same(await applied(local, filesOnly(root)), [])
})
