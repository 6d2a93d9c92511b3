import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { test } from 'tap'
import { streamControl } from '../../src/ports/control-client.ts'
import {
  ask,
  bytesOf,
  dataPath,
  digestOf,
  filesBelow,
  metric,
  openFiles,
  pushBlob,
  pushImage,
  startSession,
  until
} from '../src/support.ts'
import { allThere, enough, isInOrder, noSession, onNarrow, type Promised } from './no-room.ts'
import { type Changeable, serveModes } from './scene.ts'

const local = { registry: { mode: 'Local' } }

async function imageWith(
  served: Changeable,
  name: string
): Promise<{ promised: Promised; manifest: string; config: string; digest: string }> {
  const image = await pushImage(served, name, 'v1')
  return { ...image, promised: new Map([[`/v2/${name}/manifests/v1`, image.manifest]]) }
}

/** Changes a byte of a stored blob in its place, which a full disk takes too. */
function damage(root: string, digest: string): void {
  const path = dataPath(root, digest)
  const bytes = readFileSync(path)
  bytes[0] = (bytes[0] ?? 0) ^ 1
  writeFileSync(path, bytes, { flag: 'r+' })
}

async function scrub({ config }: Changeable): Promise<object[]> {
  return (await Array.fromAsync(
    streamControl(config.server.control, { method: 'POST', path: '/upkeep/scrub', body: {}, idleTimeoutMs: 0 })
  )) as object[]
}

test('Local: on a disk that is full everything can be deleted', async t => {
  onNarrow(t, 'deleting', async (t, disk) => {
    const served = await serveModes(t, local, disk.root)
    const { promised } = await imageWith(served, 'kept')
    const { config, digest } = await imageWith(served, 'a')
    const session = await startSession(served, 'a')
    await ask(served.listen, 'PATCH', session, { body: bytesOf(1000) })
    disk.leave(0)
    for (const [path, status] of [
      [session, 204],
      ['/v2/a/manifests/v1', 202],
      [`/v2/a/manifests/${digest}`, 202],
      [`/v2/a/blobs/${config}`, 202]
    ] as const) {
      t.equal((await ask(served.listen, 'DELETE', path)).status, status, path)
      disk.leave(0)
      t.equal((await ask(served.listen, 'GET', path)).status, 404, path)
    }
    await allThere(t, served, promised)
    disk.leave(enough)
    await imageWith(served, 'a')
    await isInOrder(t, served)
  })
})

test('Local: on a disk that is full a collection runs, and makes room for pushes', async t => {
  onNarrow(t, 'collecting', async (t, disk) => {
    const served = await serveModes(t, { ...local, gc: { grace: '0s' } }, disk.root)
    const { promised } = await imageWith(served, 'a')
    const unneeded = await Promise.all(Array.from({ length: 20 }, () => pushBlob(served, 'b', bytesOf(20_000))))
    disk.leave(0)
    const events = await Array.fromAsync(served.collect())
    t.match(events.at(-1), { type: 'done', removed: { blob: unneeded.length, repository: 1 } })
    await allThere(t, served, promised)
    await isInOrder(t, served)
    // ext4 has room again when its journal was written.
    const bytes = bytesOf(10_000)
    await until(
      async () => (await ask(served.listen, 'POST', `/v2/c/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })).status === 201
    )
    await allThere(t, served, new Map([[`/v2/c/blobs/${digestOf(bytes)}`, bytes]]))
  })
})

test('Local: on a disk that is full idle upload sessions go', async t => {
  onNarrow(t, 'expiring', async (t, disk) => {
    const served = await serveModes(t, { ...local, limits: { uploadIdle: '2s' } }, disk.root)
    for (let at = 0; at < 3; at++) await ask(served.listen, 'PATCH', await startSession(served, 'a'), { body: bytesOf(10_000) })
    disk.leave(0)
    await until(() => noSession(disk.root))
    disk.leave(enough)
    await imageWith(served, 'a')
    await isInOrder(t, served)
  })
})

test('Local: on a disk that is full what is damaged is found and given to nobody, and a push heals it when there is room', async t => {
  onNarrow(t, 'scrubbing', async (t, disk) => {
    const served = await serveModes(t, local, disk.root)
    const { promised } = await imageWith(served, 'a')
    const bytes = bytesOf(10_000)
    const digest = await pushBlob(served, 'a', bytes)
    damage(disk.root, digest)
    disk.leave(0)
    t.match((await scrub(served)).filter(each => 'type' in each && each.type === 'damaged').length, 1)
    t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
    t.equal(await metric(served, 'registry_damaged_blobs'), 1)
    await allThere(t, served, promised)
    disk.leave(enough)
    await pushBlob(served, 'a', bytes)
    promised.set(`/v2/a/blobs/${digest}`, bytes)
    t.equal(await metric(served, 'registry_damaged_blobs'), 0)
    await allThere(t, served, promised)
    await served.stop()
    await allThere(t, await serveModes(t, local, disk.root), promised)
  })
})

test('Local: a registry starts on a disk that is full, with its count or without it, and takes pushes when there is room', async t => {
  onNarrow(t, 'starting', async (t, disk) => {
    const first = await serveModes(t, local, disk.root)
    const { promised } = await imageWith(first, 'a')
    await first.stop()
    for (const counted of [true, false]) {
      if (!counted) rmSync(join(disk.root, '.registry/account'))
      disk.leave(0)
      const served = await serveModes(t, local, disk.root)
      await allThere(t, served, promised)
      t.equal((await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })).status, 507)
      t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 503)
      disk.leave(enough)
      await pushBlob(served, 'a', bytesOf(100))
      await served.stop()
    }
  })
})

test('Local: a disk that runs full in the middle of a body answers 507 at once, and the session is over', async t => {
  onNarrow(t, 'receiving', async (t, disk) => {
    disk.leave(enough)
    const served = await serveModes(t, local, disk.root)
    const { promised } = await imageWith(served, 'a')
    const session = await startSession(served, 'a')
    const [host, port] = served.listen.split(':')
    const outgoing = request({ host, port, method: 'PATCH', path: session, agent: false, headers: { 'transfer-encoding': 'chunked' } })
    const answered = once(outgoing, 'response')
    outgoing.on('error', () => {})
    outgoing.write(bytesOf(1024 * 1024))
    const written = join(disk.root, 'docker/registry/v2/repositories/a/_uploads')
    await until(async () => (await filesBelow(written)).some(each => each.endsWith('/data')))
    disk.leave(10)
    outgoing.write(bytesOf(1024 * 1024))
    outgoing.end(bytesOf(4 * 1024 * 1024))
    const [response] = await answered
    if (response.statusCode !== 202) t.equal(response.statusCode, 507)
    response.resume()
    t.equal((await ask(served.listen, 'PATCH', session, { body: 'x' })).status, response.statusCode === 202 ? 202 : 404)
    await allThere(t, served, promised)
    t.strictSame(await openFiles(disk.root), [])
    disk.leave(enough)
    await imageWith(served, 'b')
    await isInOrder(t, served)
  })
})
