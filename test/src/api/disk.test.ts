import { type Test, test } from 'tap'
import {
  ask,
  bytesOf,
  codeOf,
  digestOf,
  filesBelow,
  imageOf,
  pushBlob,
  pushImage,
  putManifest,
  reasonOf,
  serve,
  startSession
} from '../support.ts'
import { cannotMount, SmallDisk } from './small-disk.ts'
import { Wire } from './wire.ts'

const skip = cannotMount
const MIB = 1024 * 1024
const bytes = bytesOf(100_000)

async function setUp(t: Test) {
  const disk = new SmallDisk(t)
  const served = await serve(t, { root: disk.path })
  const digest = await pushBlob(served, 'a', bytes)
  const image = await pushImage(served, 'a', 'v1')
  return { disk, served, digest, image }
}

/** Streams bytes of unknown length until it is stopped; returns the response. */
async function stream(wire: Wire, head: string) {
  wire.head(head, ['Transfer-Encoding: chunked'])
  const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MIB, 1), Buffer.from('\r\n')])
  const answer = wire.answer()
  for (let sent = 0; sent < 32 && !wire.socket.destroyed; sent++) {
    await wire.send(piece)
  }
  return answer
}

test('disk full: a push answers 507 that says why, while the client is still sending, and the connection ends', { skip }, async t => {
  const { served } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  const { status, headers, body } = await stream(wire, `PATCH ${await startSession(served, 'a')}`)
  t.equal(status, 507)
  t.equal(headers['connection'], 'close')
  t.match(JSON.parse(body.toString()), {
    errors: [{ code: 'INSUFFICIENT_STORAGE', detail: { reason: "no space is left on the registry's storage" } }]
  })
  await wire.end()
})

test('disk full: the session of the push is cancelled and its bytes are free again before the answer', { skip }, async t => {
  const { disk, served } = await setUp(t)
  const location = await startSession(served, 'a')
  const free = await disk.free()
  const wire = await Wire.dial(t, served.listen)
  t.equal((await stream(wire, `PATCH ${location}`)).status, 507)
  t.ok((await disk.free()) >= free, 'nothing is left of it')
  t.equal((await ask(served.listen, 'GET', location)).status, 404)
  t.strictSame(
    (await filesBelow(served.root)).filter(path => path.includes('_uploads')),
    []
  )
})

test('disk full: a push of known length is refused before it is read', { skip }, async t => {
  const { disk, served } = await setUp(t)
  await disk.fill()
  const answer = await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digestOf('x')}`, { body: 'x' })
  t.strictSame(
    [answer.status, codeOf(answer), reasonOf(answer)],
    [507, 'INSUFFICIENT_STORAGE', "no space is left on the registry's storage"]
  )
})

test('disk full: a new session answers 507', { skip }, async t => {
  const { disk, served } = await setUp(t)
  await disk.fill()
  const answer = await ask(served.listen, 'POST', '/v2/new/blobs/uploads/')
  t.strictSame([answer.status, codeOf(answer)], [507, 'INSUFFICIENT_STORAGE'])
  t.strictSame(
    (await filesBelow(served.root)).filter(path => path.includes('_uploads')),
    []
  )
})

test('disk full: a manifest answers 507 and the old tag stays', { skip }, async t => {
  const { disk, served, image } = await setUp(t)
  await disk.fill()
  const answer = await putManifest(served, 'a', 'v1', `${image.manifest} `)
  t.strictSame([answer.status, codeOf(answer)], [507, 'INSUFFICIENT_STORAGE'])
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest)
})

test('disk full: reads and deletions go on', { skip }, async t => {
  const { disk, served, digest, image } = await setUp(t)
  await disk.fill()
  t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest)
  t.equal((await ask(served.listen, 'GET', '/v2/_catalog')).status, 200)
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/blobs/${digest}`)).status, 202)
})

test('disk full: once there is space a push works again, with no hand', { skip }, async t => {
  const { disk, served } = await setUp(t)
  await disk.fill()
  t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 507)
  await disk.clear()
  await pushImage(served, 'a', 'v2')
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v2')).status, 200)
})

test('disk full: /readyz/write fails with the reason, /readyz and /livez do not', { skip }, async t => {
  const { disk, served } = await setUp(t)
  t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 200)
  await disk.fill()
  const { status, body } = await ask(served.admin, 'GET', '/readyz/write')
  t.equal(status, 503)
  t.match(body.toString(), /ENOSPC/)
  for (const path of ['/readyz', '/livez']) t.equal((await ask(served.admin, 'GET', path)).status, 200, path)
  await disk.clear()
  t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 200)
})

test('disk full: the failed push is one error line of the log, and names the cause', { skip }, async t => {
  const { disk, served } = await setUp(t)
  await disk.fill()
  const from = served.lines.length
  await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')
  t.match(served.logged('request failed', from), [{ level: 50, status: 507, err: { message: /ENOSPC/ } }])
})

test('disk full: the registry starts and serves', { skip }, async t => {
  const { disk, served, digest } = await setUp(t)
  await served.stop()
  await disk.fill()
  const again = await serve(t, { root: disk.path })
  t.ok((await ask(again.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
})

/** A registry that was started on a filesystem that is mounted read-only. */
async function readOnly(t: Test) {
  const { disk, served, digest, image } = await setUp(t)
  await served.stop()
  disk.remount('ro')
  t.teardown(() => disk.remount('rw'))
  return { disk, digest, image, served: await serve(t, { root: disk.path }) }
}

test('disk read-only: reads go on', { skip }, async t => {
  const { served, digest, image } = await readOnly(t)
  t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest)
  t.equal(served.logged('the filesystem is mounted read-only: pulls are served, pushes are refused').length, 1)
})

test('disk read-only: pushes and deletions answer 500 that says why', { skip }, async t => {
  const { served, digest, image } = await readOnly(t)
  const body = imageOf([bytes])
  const answers = [
    await ask(served.listen, 'POST', '/v2/a/blobs/uploads/'),
    await ask(served.listen, 'POST', `/v2/a/blobs/uploads/?digest=${digest}`, { body: bytes }),
    await putManifest(served, 'a', 'v2', body),
    await ask(served.listen, 'DELETE', `/v2/a/manifests/${image.digest}`),
    await ask(served.listen, 'DELETE', `/v2/a/blobs/${digest}`)
  ]
  for (const answer of answers) t.strictSame([answer.status, reasonOf(answer)], [500, "the registry's disk is mounted read-only"])
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest)
})

test('disk read-only: /readyz/write fails and /readyz does not', { skip }, async t => {
  const { served } = await readOnly(t)
  t.equal((await ask(served.admin, 'GET', '/readyz/write')).status, 503)
  t.equal((await ask(served.admin, 'GET', '/readyz')).status, 200)
})

test('disk read-only: once it is writable a push works again, with no hand', { skip }, async t => {
  const { disk, served } = await readOnly(t)
  t.equal((await ask(served.listen, 'POST', '/v2/a/blobs/uploads/')).status, 500)
  disk.remount('rw')
  await pushImage(served, 'a', 'v2')
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v2')).status, 200)
})
