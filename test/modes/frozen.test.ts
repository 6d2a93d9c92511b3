import { execFileSync, spawn } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { stringify } from 'yaml'
import {
  ask,
  bytesOf,
  dataPath,
  digestOf,
  folder,
  metric,
  pushBlob,
  pushImage,
  reasonOf,
  startSession,
  unbounded,
  until
} from '../src/support.ts'
import { mountFreezable } from '../support/place.ts'
import { program as script } from '../support/program.ts'
import { startUpstream } from '../support/upstream.ts'
import { pull } from './client.ts'
import { launch } from './program.ts'
import { behind, blobBehind, prefix, serveModes, storedFills } from './scene.ts'

const silent = "the registry's storage does not answer"
// What the node's users are promised: a push is told within so many ms.
const promised = 10_000

test('a disk that is frozen: pushes are told so in time, pulls and probes go on, and after it everything does', async t => {
  const disk = await mountFreezable(t)
  if (typeof disk === 'string') return void t.pass('ext4', { skip: disk })
  const served = await serveModes(t, { registry: { mode: 'Local' } }, disk.directory)
  const { manifest } = await pushImage(served, 'a', 'v1')
  const bytes = bytesOf(100_000)
  const digest = await pushBlob(served, 'a', bytes)
  const session = await startSession(served, 'a')

  disk.freeze()
  const began = Date.now()
  const pushes = [
    ...Array.from({ length: 60 }, () => ask(served.listen, 'POST', '/v2/a/blobs/uploads/')),
    ...Array.from({ length: 40 }, () => ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })),
    ask(served.listen, 'PATCH', session, { body: bytes }),
    ask(served.listen, 'PUT', '/v2/a/manifests/v2', { body: `${manifest} `, headers: { 'content-type': 'application/json' } })
  ]
  const all = Promise.all(pushes)
  let told = false
  void all.finally(() => {
    told = true
  })
  while (!told) {
    await lookup('localhost')
    t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
    t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
    for (const path of ['/livez', '/readyz', '/status', '/metrics']) t.equal((await ask(served.admin, 'GET', path)).status, 200, path)
    await new Promise(resolve => setTimeout(resolve, 200))
  }
  t.ok(Date.now() - began < promised, `${Date.now() - began} ms`)
  for (const answer of await all) {
    t.strictSame([answer.status, reasonOf(answer), answer.headers['retry-after']], [503, silent, '10'])
  }
  t.equal(served.logged('the disk does not respond: requests that need it are refused until it does').length, 1)
  t.equal(await metric(served, 'registry_disk_stalled'), 1)
  t.match(await served.status(), { storage: { stalled: ['writes'] } })
  t.match(await ask(served.admin, 'GET', '/readyz/write'), { status: 503 })

  disk.thaw()
  await until(async () => (await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status === 202)
  await pushImage(served, 'a', 'v3')
  await until(() => served.logged('the disk responds again').length === 1)
  t.equal(await metric(served, 'registry_disk_stalled'), 0)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
  t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 200)
})

test('a disk that is frozen: a cache gives what upstream has, and Direct does not notice', async t => {
  const disk = await mountFreezable(t)
  if (typeof disk === 'string') return void t.pass('ext4', { skip: disk })
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) }, disk.directory)
  const [one, two, three] = [blobBehind(upstream, 100_000), blobBehind(upstream, 100_000), blobBehind(upstream, 100_000)]
  disk.freeze()
  t.equal((await pull(served.listen, one.path)).digest, one.digest)
  t.equal((await pull(served.listen, two.path)).digest, two.digest)
  t.equal((await served.change({ registry: behind('Direct', upstream) })).result, 'applied')
  t.equal((await pull(served.listen, three.path)).digest, three.digest)
  disk.thaw()
})

test('a disk that hangs: reads are told so in time, and what needs no disk goes on', async t => {
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  const { manifest } = await pushImage(served, 'a', 'v1')
  const digest = await pushBlob(served, 'a', bytesOf(1000))
  const path = dataPath(served.root, digest)
  await rename(path, `${path}.away`)
  // Whoever opens it waits in the kernel until somebody writes.
  execFileSync('mkfifo', [path])
  const began = Date.now()
  const pulls = Promise.all(Array.from({ length: 100 }, () => ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)))
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
  await lookup('localhost')
  for (const answer of await pulls) t.strictSame([answer.status, reasonOf(answer)], [503, silent])
  t.ok(Date.now() - began < promised, `${Date.now() - began} ms`)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
  t.strictSame([(await ask(served.admin, 'GET', '/livez')).status, (await ask(served.admin, 'GET', '/readyz')).status], [200, 503])
  const writer = await open(path, 'r+')
  await rename(`${path}.away`, path)
  await until(async () => (await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status === 200)
  await writer.close()
  await until(async () => (await ask(served.admin, 'GET', '/readyz')).status === 200)
})

test('a disk that hangs: a cache gives what upstream has in place of what it cannot read, and says so where upstream cannot be asked', async t => {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1', { layer: bytesOf(50_000) })
  const first = await serveModes(t, { registry: behind('Proxy', upstream) })
  const manifests = ['v1', image.digest].map(each => `/v2/${prefix.here}/app/manifests/${each}`)
  const blob = `/v2/${prefix.here}/app/blobs/${image.layer}`
  for (const path of [...manifests, blob]) await ask(first.listen, 'GET', path)
  await storedFills(first, 1)
  await first.stop()
  const hanging = [image.digest, image.layer].map(each => dataPath(first.root, each))
  for (const path of hanging) {
    await rename(path, `${path}.away`)
    execFileSync('mkfifo', [path])
  }
  // Nothing is in its memory.
  const served = await serveModes(t, { registry: behind('Proxy', upstream) }, first.root)
  const answers = await Promise.all([...manifests, blob].map(path => ask(served.listen, 'GET', path)))
  t.strictSame(
    answers.map(({ status, body }) => [status, digestOf(body)]),
    [image.digest, image.digest, image.layer].map(digest => [200, digest])
  )
  t.equal((await ask(served.listen, 'HEAD', blob)).headers['content-length'], '50000')
  const part = await ask(served.listen, 'GET', blob, { headers: { range: 'bytes=10-19' } })
  t.strictSame([part.status, part.body.length], [206, 10])
  await upstream.stop()
  for (const path of [manifests[1] ?? '', blob]) {
    const answer = await ask(served.listen, 'GET', path)
    t.strictSame([answer.status, reasonOf(answer)], [503, silent], path)
  }
  const writers = await Promise.all(hanging.map(path => open(path, 'r+')))
  for (const path of hanging) await rename(`${path}.away`, path)
  await until(async () => (await ask(served.listen, 'GET', blob)).status === 200)
  for (const writer of writers) await writer.close()
})

test('a disk that hangs: the program ends on SIGTERM although a thread of it never returns', async t => {
  const program = await launch(t, { mode: 'Local' })
  const bytes = bytesOf(1000)
  const { listen, root } = program
  const digest = digestOf(bytes)
  t.equal((await ask(listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes })).status, 201)
  await rm(dataPath(root, digest))
  execFileSync('mkfifo', [dataPath(root, digest)])
  t.equal((await ask(listen, 'GET', `/v2/a/blobs/${digest}`)).status, 503)
  program.child.kill('SIGTERM')
  await program.ended
  t.ok(program.logged('the registry has stopped'), 'in good order but for that')
})

test('a disk that is frozen before the start: the program ends with a line that says so, and starts when it is back', async t => {
  const disk = await mountFreezable(t)
  if (typeof disk === 'string') return void t.pass('ext4', { skip: disk })
  const root = join(disk.directory, 'root')
  await (await serveModes(t, { registry: { mode: 'Local' } }, root)).stop()
  const file = join(folder(t), 'registry.yaml')
  await writeFile(
    file,
    stringify({ server: { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }, storage: { ...unbounded, filesystem: { root } } })
  )
  disk.freeze()
  const child = spawn(process.execPath, [...script, 'serve', '--config', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'close')
  const [line] = await once(child.stderr.setEncoding('utf8'), 'data')
  t.equal(line, `the disk of ${root} has not answered for 10 s: the registry cannot start before it does\n`)
  // The kernel keeps a process that waits for such a disk.
  disk.thaw()
  const [code] = await ended
  t.not(code, 0)
  const served = await serveModes(t, { registry: { mode: 'Local' } }, root)
  await pushImage(served, 'a', 'v1')
})

test('a disk that hangs: the registry stops all the same', async t => {
  const disk = await mountFreezable(t)
  if (typeof disk === 'string') return void t.pass('ext4', { skip: disk })
  const served = await serveModes(t, { registry: { mode: 'Local' } }, disk.directory)
  await pushImage(served, 'a', 'v1')
  disk.freeze()
  t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 503)
  await served.stop()
  disk.thaw()
})
