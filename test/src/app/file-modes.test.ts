// The report of an auditor: blobs, manifests and the usage of the registry were readable for every user of the node
// (0644, in directories of 0755), whatever their images hold.
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'tap'
import { ask, bytesOf, digestOf, folder, pushBlob, pushImage, serve, startSession } from '../support.ts'

const modeOf = (path: string) => (lstatSync(path).mode & 0o7777).toString(8)

/** All that is below a directory, and itself, with the modes. */
function modesBelow(root: string): Map<string, string> {
  const entries = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return new Map(['', ...entries].map(path => [path, modeOf(join(root, path))]))
}

// What the mask takes away is not to be what protects.
process.umask(0)

test('file modes: all that is stored is for the owner alone, without any help of the umask', async t => {
  const root = join(folder(t), 'above', 'root')
  const served = await serve(t, { root })
  await pushImage(served, 'a/b', 'v1')
  const digest = await pushBlob(served, 'a/b', bytesOf(100))
  await ask(served.listen, 'POST', `/v2/c/blobs/uploads/?mount=${digest}&from=a/b`)
  const session = await startSession(served, 'd')
  await ask(served.listen, 'PATCH', session, { body: bytesOf(100) })
  await ask(served.listen, 'POST', `/v2/e/blobs/uploads/?digest=${digestOf('x')}`, { body: 'y' })
  const modes = modesBelow(root)
  t.ok(modes.size > 30, `${modes.size} files and directories`)
  for (const [path, mode] of modes) t.equal(mode, statSync(join(root, path)).isDirectory() ? '700' : '600', path)
  t.ok(['lock', 'owner', 'account', 'control.sock'].every(name => existsSync(join(root, '.registry', name))))
  t.equal(modeOf(dirname(root)), '777')
  await served.stop()
  for (const [path, mode] of modesBelow(root)) t.equal(mode, statSync(join(root, path)).isDirectory() ? '700' : '600', path)
})

test('file modes: what exists keeps its mode, and what is added to it is for the owner alone', async t => {
  const root = join(folder(t), 'root')
  const first = await serve(t, { root })
  const { manifest } = await pushImage(first, 'a', 'v1')
  await first.stop()
  // The temporary directory is made anew by each start.
  const before = [...modesBelow(root).keys()].filter(path => path !== '.registry/tmp')
  for (const path of before) chmodSync(join(root, path), statSync(join(root, path)).isDirectory() ? 0o755 : 0o644)
  const second = await serve(t, { root })
  t.equal((await ask(second.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
  await pushImage(second, 'a', 'v2')
  for (const [path, mode] of modesBelow(root)) {
    const directory = statSync(join(root, path)).isDirectory()
    if (directory) t.equal(mode, before.includes(path) ? '755' : '700', path)
    // A file may have been replaced by a new one, as a tag is.
    else t.ok(mode === '600' || (mode === '644' && before.includes(path)), `${path} ${mode}`)
  }
})

test('file modes: a directory for the control socket is made for the owner alone', async t => {
  const place = join(folder(t), 'run')
  await serve(t, { server: { control: join(place, 'control.sock') } })
  t.strictSame([modeOf(place), modeOf(join(place, 'control.sock'))], ['700', '600'])
  const open = join(folder(t), 'open')
  mkdirSync(open, { mode: 0o755 })
  await serve(t, { server: { control: join(open, 'control.sock') } })
  t.strictSame([modeOf(open), modeOf(join(open, 'control.sock'))], ['755', '600'])
})
