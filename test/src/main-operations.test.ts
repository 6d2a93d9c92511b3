import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { begin, type Ended } from './command.ts'
import { ask, bytesOf, configured, dataPath, digestOf, filesBelow, folder, pushBlob, pushImage, type Served, serve } from './support.ts'
import { inFront, own, path } from './why/scene.ts'

const run = (t: Test, ...args: string[]): Promise<Ended> => begin(t, args).ended

/** A configuration by which commands find the registry, and its storage after it has ended. */
function fileOf(t: Test, { config, root }: Served, more: Record<string, unknown> = {}): string {
  const file = join(folder(t), 'registry.yaml')
  writeFileSync(file, stringify({ server: { control: config.server.control }, storage: { filesystem: { root } }, ...more }))
  return file
}

function flip(root: string, digest: string): void {
  const bytes = readFileSync(dataPath(root, digest))
  bytes[0] = (bytes[0] ?? 0) ^ 1
  writeFileSync(dataPath(root, digest), bytes)
}

/** A registry with a repository of its own root, running or gone. */
async function scene(t: Test, how: 'online' | 'offline') {
  const root = join(folder(t), 'root')
  const registry = await serve(t, { root, server: { control: join(folder(t), 'c.sock') } })
  const image = await pushImage(registry, 'app', 'v1')
  const layer = await pushBlob(registry, 'app', bytesOf(5_000))
  const file = fileOf(t, registry)
  if (how === 'offline') await registry.stop()
  return { root, registry, file, layer, ...image }
}

for (const how of ['online', 'offline'] as const) {
  test(`scrub, ${how}: exit code 0 and the totals where nothing is damaged`, async t => {
    const { file } = await scene(t, how)
    const { code, err, events } = await run(t, 'scrub', '--config', file)
    t.match({ code, err }, { code: 0, err: '' })
    t.match(events, [{ type: 'done', blobs: 3, repositories: 1, damaged: 0 }])
  })

  test(`scrub, ${how}: exit code 1 and a line for each damage, until it is healed`, async t => {
    const { file, root, layer, digest } = await scene(t, how)
    flip(root, layer)
    const { code, events } = await run(t, 'scrub', '--config', file)
    t.equal(code, 1)
    t.match(events, [
      { type: 'damaged', kind: 'blob', digest: layer, names: ['app'], action: 'quarantined' },
      { damaged: 1, mended: 0 }
    ])
    t.notOk(existsSync(dataPath(root, layer)))
    t.match(await run(t, 'scrub', 'app', '--config', file), { code: 1, events: [{ kind: 'link', digest: layer }, {}] })
    t.ok(existsSync(dataPath(root, digest)))
  })

  test(`scrub, ${how}: a repository that is not there is exit code 1`, async t => {
    const { file } = await scene(t, how)
    t.match(await run(t, 'scrub', 'absent', '--config', file), { code: 1, out: '', err: 'there is no repository absent\n' })
  })

  test(`du, ${how}: a line for each repository, and the sum`, async t => {
    const { file, manifest } = await scene(t, how)
    const bytes = 5_032 + manifest.length
    const { code, events } = await run(t, 'du', '--config', file)
    t.equal(code, 0)
    t.match(events, [
      { type: 'repository', name: 'app', bytes, own: bytes, shared: 0, blobs: 2, manifests: 1, tags: 1 },
      { type: 'done', repositories: 1, bytes, unlinked: 0 }
    ])
  })

  test(`purge, ${how}: pushed content is removed with --yes only, and a second time there is none`, async t => {
    const { file, digest, layer, root } = await scene(t, how)
    const before = await filesBelow(join(root, 'docker'))
    t.match(await run(t, 'purge', 'app', '--config', file), { code: 2, out: '', err: /4 objects were pushed.*--yes/ })
    t.strictSame(await filesBelow(join(root, 'docker')), before, 'nothing was removed')
    t.match(await run(t, 'purge', 'app:v1', '--yes', '--config', file), {
      code: 0,
      events: [{ kind: 'tag', tag: 'v1', digest }, { tags: 1 }]
    })
    t.match(await run(t, 'purge', `app@${layer}`, '--yes', '--config', file), { code: 0, events: [{ kind: 'blob' }, { blobs: 1 }] })
    t.match(await run(t, 'purge', 'app', '--yes', '--config', file), {
      code: 0,
      events: [{ kind: 'manifest' }, { kind: 'blob' }, { manifests: 1 }]
    })
    t.match(await run(t, 'purge', 'app', '--yes', '--config', file), { code: 1, out: '', err: 'there is no repository app\n' })
  })

  test(`status, ${how}: what the scrub found`, async t => {
    const { file, root, layer } = await scene(t, how)
    flip(root, layer)
    await run(t, 'scrub', '--config', file)
    const { code, out } = await run(t, 'status', '--config', file)
    t.equal(code, 0)
    t.match(JSON.parse(out), { storage: { root }, scrub: { damaged: 1, damages: [{ digest: layer }], last: { damaged: 1 } } })
  })

  test(`scrub, ${how}: SIGINT ends it with exit code 1 and a line, and another one reads everything`, async t => {
    const { file, root, registry } = await scene(t, how)
    const again = how === 'offline' ? await serve(t, { root }) : registry
    for (let at = 0; at < 12; at++) await pushBlob(again, 'app', bytesOf(8 * 1024 * 1024))
    if (how === 'offline') await again.stop()
    const { child, ended } = begin(t, ['scrub', '--config', file])
    await once(child.stdout ?? child, 'data')
    child.kill('SIGINT')
    const { code, err, events } = await ended
    if (events.at(-1)?.['type'] === 'done') t.comment('it was done before')
    else t.match({ code, err }, { code: 1, err: 'interrupted: run it again to resume\n' })
    t.match(await run(t, 'scrub', '--config', file), { code: 0, events: [{ type: 'done', blobs: 15 }] })
  })
}

test('offline: content quarantined without a registry is healed by a push to it', async t => {
  const { file, root, layer } = await scene(t, 'offline')
  const bytes = readFileSync(dataPath(root, layer))
  flip(root, layer)
  await run(t, 'scrub', '--config', file)
  const again = await serve(t, { root })
  t.equal((await ask(again.listen, 'GET', `/v2/app/blobs/${layer}`)).status, 404)
  await pushBlob(again, 'app', bytes)
  t.equal((await ask(again.listen, 'GET', `/v2/app/blobs/${layer}`)).status, 200)
})

test('offline: prefetch says that it takes a running registry', async t => {
  const { file } = await scene(t, 'offline')
  t.match(await run(t, 'prefetch', 'app:v1', '--config', file), {
    code: 1,
    out: '',
    err: /^no registry is running behind .*, and only a running registry can do this\n$/
  })
})

for (const command of [['scrub'], ['du'], ['gc'], ['purge', 'a'], ['status']]) {
  test(`offline: ${command[0]} of a directory that is not there creates none`, async t => {
    const config = configured(t)
    const file = join(folder(t), 'registry.yaml')
    writeFileSync(file, stringify({ storage: { filesystem: { root: config.storage.filesystem.root } } }))
    const { code, out, err } = await run(t, ...command, '--config', file)
    t.match({ code, out, err }, { code: 1, out: '', err: /^no registry is running behind .*, and there is no directory .*\n$/ })
    t.notOk(existsSync(config.storage.filesystem.root))
  })
}

test('offline: a directory that a process owns whose socket does not answer is left alone', async t => {
  const { file, registry } = await scene(t, 'online')
  rmSync(registry.config.server.control)
  const { code, out, err } = await run(t, 'scrub', '--config', file)
  t.match({ code, out }, { code: 1, out: '' })
  t.match(err, /belongs to another running process \(pid \d+.*no registry is running behind .*server\.control/)
})

test('prefetch: a file of references, a line for each, exit code 1 if one failed', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  const file = fileOf(t, registry)
  const set = join(folder(t), 'images.txt')
  writeFileSync(set, `# images\n${own}:v1\n\n`)
  t.match(await run(t, 'prefetch', set, '--config', file), { code: 0, events: [{ result: 'fetched' }, { failed: 0 }] })
  const piped = begin(t, ['prefetch', '-', '--config', file], `${own}:v1\n${own}:none\n`)
  t.match(await piped.ended, { code: 1, events: [{}, {}, { references: 2, failed: 1 }] })
})

test('prefetch: --pin adds the references to the pin file, and is wrong use where there is none', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  const pins = join(folder(t), 'pins')
  const file = fileOf(t, registry, { cache: { pinFile: pins } })
  const { code, events } = await run(t, 'prefetch', '--pin', `${own}:v1`, '--config', file)
  t.match({ code, events }, { code: 0, events: [{ type: 'pinned', file: pins, added: 1 }, { result: 'fetched' }, { failed: 0 }] })
  t.equal(readFileSync(pins, 'utf8'), `${own}:v1\n`)
  const without = await run(t, 'prefetch', '--pin', `${own}:v1`, '--config', fileOf(t, registry))
  t.match(without, { code: 2, out: '', err: /cache\.pinFile/ })
})

test('purge: in Proxy cached content is removed unconfirmed, and fetched again by the next pull', async t => {
  const { registry, upstream } = await inFront(t, { more: { cache: { tagTTL: '1h' } } })
  const { digest } = upstream.addImage(path, 'v1')
  const get = () => ask(registry.listen, 'GET', `/v2/${own}/manifests/v1`)
  t.equal(digestOf((await get()).body), digest)
  const newer = upstream.addImage(path, 'v1')
  t.equal(digestOf((await get()).body), digest, 'from the cache')
  t.match(await run(t, 'purge', `${own}:v1`, '--config', fileOf(t, registry)), { code: 0, events: [{ kind: 'tag', digest }, { tags: 1 }] })
  t.equal(digestOf((await get()).body), newer.digest)
})

for (const args of [
  ['scrub', '../etc'],
  ['scrub', 'a', 'b'],
  ['purge', 'a@sha256:1234', '--yes'],
  ['prefetch', 'a:v1', '--at-once', 'many'],
  ['gc', '--wet-run']
]) {
  test(`wrong use is exit code 2 and a line on standard error: ${args.join(' ')}`, async t => {
    const file = join(folder(t), 'registry.yaml')
    writeFileSync(file, stringify({ storage: { filesystem: { root: join(folder(t), 'none') } } }))
    const { code, out, err } = await run(t, ...args, '--config', file)
    t.match({ code, out }, { code: 2, out: '' })
    t.match(err, /\S/)
    t.notMatch(err, /\n {4}at /, 'no stack')
  })
}

test('a list of no references is wrong use', async t => {
  const set = join(folder(t), 'images.txt')
  writeFileSync(set, '# none\n')
  t.match(await run(t, 'prefetch', set), { code: 2, err: /nothing to fetch/ })
})

test('a registry that ends during an operation is exit code 1 and a line with the advice', async t => {
  const { file, registry } = await scene(t, 'online')
  for (let at = 0; at < 12; at++) await pushBlob(registry, 'app', bytesOf(8 * 1024 * 1024))
  const { child, ended } = begin(t, ['scrub', '--config', file])
  await once(child.stdout ?? child, 'data')
  await registry.stop()
  const { code, err, events } = await ended
  if (events.at(-1)?.['type'] === 'done') return t.comment('it was done before')
  t.equal(code, 1)
  t.match(err, /\S.*\n$/)
})

test('copy-storage: refuses a directory that a running registry has, and copies it when it has none', async t => {
  const place = folder(t)
  const served = await serve(t, { root: join(place, 'from') })
  await pushImage(served, 'a', 'v1')
  const to = join(place, 'to.yaml')
  const server = { control: join(place, 'none.sock') }
  writeFileSync(to, stringify({ server, storage: { filesystem: { root: join(place, 'to') } } }))
  const from = fileOf(t, served)
  const refused = await run(t, 'copy-storage', '--from', from, '--to', to)
  t.equal(refused.code, 1)
  t.match(refused.err, /belongs to another running process .*: stop it/)
  await served.stop()
  const same = await run(t, 'copy-storage', '--from', from, '--to', from)
  t.match(same.err, /both configurations name the same storage/)
  const copied = await run(t, 'copy-storage', '--from', from, '--to', to)
  t.equal(copied.code, 0, copied.err)
  t.match(copied.events.at(-1), { type: 'done', present: 0, damaged: 0 })
  const kept = async (root: string) => filesBelow(join(root, 'docker'))
  t.strictSame(await kept(join(place, 'to')), await kept(served.root))
})
