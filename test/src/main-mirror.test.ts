import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { digestOf, splitArchive } from '../support/bundle.ts'
import { madeBundle } from './bundle/scene.ts'
import { begin as beginCommand, type Ended } from './command.ts'
import { ask, folder, guarded, serve, until } from './support.ts'

const begin = (t: Test, args: readonly string[]) => beginCommand(t, ['mirror', ...args])
const run = (t: Test, ...args: string[]): Promise<Ended> => begin(t, args).ended

test('mirror verify: exit code 0 and the counts of a sound bundle, 1 and a line for each fault of another', async t => {
  const { place, maker } = await madeBundle(t)
  await splitArchive(join(place, 'platform.tar'), 30_000)
  const sound = await run(t, 'verify', place)
  t.match(sound, { code: 0, err: '' })
  t.match(sound.events, [{ type: 'done', archives: 3, images: 6, faults: 0 }])
  const file = join(place, 'security.tar')
  const bytes = readFileSync(file)
  const at = bytes.indexOf(maker.images.find(each => each.path === 'security/trivy-db')?.blobs[1] ?? Buffer.alloc(0))
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(file, bytes)
  const damaged = await run(t, 'verify', place)
  t.equal(damaged.code, 1)
  t.match(damaged.events, [
    { type: 'fault', archive: 'security.tar', offset: at },
    { type: 'done', faults: 1 }
  ])
})

test('mirror push: with a password in a file, into a registry with users; a second push adds nothing, and diff says so', async t => {
  const { place, maker } = await madeBundle(t)
  const registry = await serve(t, { auth: guarded(t) })
  const passwordFile = join(folder(t), 'password')
  writeFileSync(passwordFile, 'tale-of-a-password\n')
  const to = `${registry.listen}/system/deckhouse`
  const as = (login: string) => ['--insecure', '--login', login, '--password-file', passwordFile]
  const reader = await run(t, 'push', place, '--to', to, ...as('ro'))
  t.equal(reader.code, 1)
  t.match(reader.err, /answered 40[13].*"ro"/)
  t.match(await run(t, 'push', place, '--to', to, '--insecure'), { code: 1, err: /give credentials by --login/ })
  t.match(await run(t, 'diff', place, to, ...as('rw')), { code: 1 })
  const first = await run(t, 'push', place, '--to', to, ...as('rw'))
  t.match(first, { code: 0, err: '' })
  t.match(first.events.at(-1), { type: 'done', images: 7, pushed: 7, failed: 0 })
  t.match((await run(t, 'push', place, '--to', to, ...as('rw'))).events.at(-1), { present: 7, sentBytes: 0 })
  t.match(await run(t, 'diff', place, to, ...as('rw')), { code: 0 })
  t.equal(maker.images.length, 6)
})

test('mirror push: the modules go where --modules-path-suffix says, and only the archives of --file', async t => {
  const { place } = await madeBundle(t)
  const registry = await serve(t)
  const to = `${registry.listen}/system/deckhouse`
  const { code } = await run(
    t,
    'push',
    place,
    '--to',
    to,
    '--insecure',
    '--file',
    'module-console.tar',
    '--modules-path-suffix',
    '/ours/modules'
  )
  t.equal(code, 0)
  const { body } = await ask(registry.listen, 'GET', '/v2/_catalog')
  t.same(JSON.parse(body.toString()).repositories, [
    'system/deckhouse/ours/modules',
    'system/deckhouse/ours/modules/console',
    'system/deckhouse/ours/modules/console/release'
  ])
  const tags = await ask(registry.listen, 'GET', '/v2/system/deckhouse/ours/modules/tags/list')
  t.same(JSON.parse(tags.body.toString()).tags, ['console'])
})

test('mirror push: of a damaged bundle nothing is pushed and the exit code is 1, unless --keep-going; then it is 1 as well', async t => {
  const { place } = await madeBundle(t)
  const file = join(place, 'security.tar')
  writeFileSync(file, readFileSync(file).subarray(0, 40_000))
  const registry = await serve(t)
  const to = `${registry.listen}/system/deckhouse`
  const refused = await run(t, 'push', place, '--to', to, '--insecure')
  t.equal(refused.code, 1)
  t.match(refused.events.at(-1), { type: 'done', result: 'refused' })
  t.same(JSON.parse((await ask(registry.listen, 'GET', '/v2/_catalog')).body.toString()).repositories, [])
  const kept = await run(t, 'push', place, '--to', to, '--insecure', '--keep-going')
  t.equal(kept.code, 1)
  t.match(kept.events.at(-1), { type: 'done', pushed: 6 })
})

test('mirror pull: a list of references becomes a bundle, which is verified, pushed elsewhere, and complete there', async t => {
  const { place, maker } = await madeBundle(t)
  const [first, second] = [await serve(t), await serve(t)]
  await run(t, 'push', place, '--to', `${first.listen}/ee`, '--insecure')
  const list = join(folder(t), 'list.txt')
  writeFileSync(list, maker.images.map(({ path, tag }) => `${path}:${tag}`).join('\n'))
  const pulled = join(folder(t), 'pulled')
  const from = ['--from', `${first.listen}/ee`, '--insecure', '--output', pulled, '--chunk-size', '64KiB']
  t.match(await run(t, 'pull', list, `${first.listen}/ee/install:v1.70.0`, ...from), { code: 0, err: '' })
  const again = await run(t, 'pull', list, ...from)
  t.match(again, { code: 0 })
  t.match(again.events.at(-1), { type: 'done', images: 6, fetchedBlobs: 0 })
  t.match(await run(t, 'verify', pulled), { code: 0 })
  t.match(await run(t, 'push', pulled, '--to', `${second.listen}/ours`, '--insecure'), { code: 0 })
  t.match(await run(t, 'diff', place, `${second.listen}/ours`, '--insecure'), { code: 0 })
  t.match(await run(t, 'diff', place, pulled), { code: 0 })
  const missing = await run(t, 'pull', ':nothing', ...from)
  t.match(missing, { code: 1 })
  t.match(missing.events, [
    { type: 'image', image: ':nothing', result: 'failed' },
    { type: 'done', failed: 1 }
  ])
})

test('mirror prune: what stands in the plan goes when it is executed, from the registry that it is for, and a plan is never overwritten', async t => {
  const { place } = await madeBundle(t)
  const registry = await serve(t)
  await run(t, 'push', place, '--to', `${registry.listen}/ee`, '--insecure')
  const { headers } = await ask(registry.listen, 'HEAD', '/v2/ee/install/manifests/v1.70.0', {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' }
  })
  const file = join(folder(t), 'plan.txt')
  writeFileSync(
    file,
    `registry ${registry.listen}/ee\nremove install:v1.70.0 ${headers['docker-content-digest']}\n# remove :v1.70.0 nothing\n`
  )
  t.match(await run(t, 'prune', `${registry.listen}/other`, '--insecure', '--execute', file), {
    code: 2,
    err: /is a plan for .*\/ee, not for/
  })
  const done = await run(t, 'prune', `${registry.listen}/ee`, '--insecure', '--execute', file)
  t.match(done, { code: 0, err: '' })
  t.match(done.events, [
    { type: 'tag', tag: 'install:v1.70.0', result: 'removed' },
    { type: 'done', removed: 1 }
  ])
  t.equal((await ask(registry.listen, 'GET', '/v2/ee/install/manifests/v1.70.0')).status, 404)
  t.equal((await ask(registry.listen, 'GET', '/v2/ee/manifests/v1.70.0')).status, 200)
  t.match(await run(t, 'prune', `${registry.listen}/ee`, '--insecure', '--keep', 'v1.70.0', '--plan', file), {
    code: 1,
    err: /images_digests|answered 404/
  })
  t.match(readFileSync(file, 'utf8'), /^registry /)
})

test('mirror: what cannot be meant is exit code 2 and one line', async t => {
  const { place } = await madeBundle(t)
  const wrong: [args: string[], reason: RegExp][] = [
    [['push', place, '--to', 'registry.test'], /--to: .*has no repository path/],
    [['push', place, '--to', 'https://registry.test/a'], /begins with a scheme/],
    [['push', place, '--to', 'registry.test/UPPER'], /not the name of a repository/],
    [['push', place, '--to', 'registry.test/a', '--at-once', '0'], /--at-once: expected a number from 1 to 64/],
    [['push', place, '--to', 'registry.test/a', '--login', 'x'], /belong together/],
    [['serve', place, '--listen', 'nonsense'], /--listen: expected HOST:PORT/],
    [['pull', '--from', 'registry.test/a', '-o', place], /nothing was named/],
    [['pull', 'registry.other/a:v1', '--from', 'registry.test/a', '-o', place], /is of registry\.other, and --from names registry\.test/],
    [['pull', ':v1', '--from', 'registry.test/a', '-o', place, '--chunk-size', '1'], /--chunk-size: expected a size from 64KiB/],
    [['pull', ':v1', '--from', 'registry.test/a', '-o', place, '--platform', 'amd64'], /is no platform/],
    [['pull', 'UPPER:v1', '--from', 'registry.test/a', '-o', place], /upper-case letters/],
    [['prune', 'registry.test/a'], /either --keep with --plan FILE, or --execute FILE/],
    [['prune', 'registry.test/a', '--plan', 'x'], /--plan needs --keep/],
    [['push', place], /required option '--to/]
  ]
  for (const [args, reason] of wrong) t.match(await run(t, ...args), { code: 2, err: reason }, args.join(' '))
  t.match(await run(t, 'verify', join(place, 'nothing')), { code: 1, err: /ENOENT/ })
})

test('mirror serve: a registry straight from the archives, which refuses pushes, until SIGTERM', async t => {
  const { place, maker } = await madeBundle(t)
  await splitArchive(join(place, 'platform.tar'), 30_000)
  const { child, out, ended } = begin(t, ['serve', place, '--listen', '127.0.0.1:0'])
  await until(() => out().includes('the bundle is served'))
  const { listen } = JSON.parse(
    out()
      .split('\n')
      .find(line => line.includes('the bundle is served')) ?? '{}'
  )
  for (const { path, tag, digest, manifest, blobs } of maker.images) {
    const name = ['system/deckhouse', path].filter(Boolean).join('/')
    const got = await ask(listen, 'GET', `/v2/${name}/manifests/${tag}?ns=registry.deckhouse.io`)
    t.ok(got.body.equals(manifest) && got.headers['docker-content-digest'] === digest, `${path}:${tag}`)
    for (const each of blobs) {
      t.ok((await ask(listen, 'GET', `/v2/${name}/blobs/${digestOf(each)}`)).body.equals(each))
      const part = await ask(listen, 'GET', `/v2/${name}/blobs/${digestOf(each)}`, { headers: { range: 'bytes=5-14' } })
      t.ok(part.status === 206 && part.body.equals(each.subarray(5, 15)))
    }
  }
  const tags = await ask(listen, 'GET', '/v2/system/deckhouse/install/tags/list')
  t.same(JSON.parse(tags.body.toString()), { name: 'system/deckhouse/install', tags: ['v1.70.0'] })
  const names = await ask(listen, 'GET', '/v2/_catalog?n=2')
  t.same(JSON.parse(names.body.toString()).repositories, ['system/deckhouse', 'system/deckhouse/install'])
  t.match(names.headers.link, /last=system%2Fdeckhouse%2Finstall/)
  t.equal((await ask(listen, 'POST', '/v2/system/deckhouse/blobs/uploads/')).status, 405)
  t.equal((await ask(listen, 'GET', '/v2/other/manifests/v1')).status, 404)
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
})
