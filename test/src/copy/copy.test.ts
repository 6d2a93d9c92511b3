import { type Test, test } from 'tap'
import { type CopyOptions, copy } from '../../../src/copy/copy.ts'
import type { CopyEvent } from '../../../src/copy/events.ts'
import { parseDigest } from '../../../src/oci/digest.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { parseName, parseReference, parseTag } from '../../../src/oci/name.ts'
import type { BlobRequest, Body, OpenBlob, Served, Source } from '../../../src/oci/source.ts'
import { type PushProxy, startPushProxy } from '../../support/push-proxy.ts'
import { ask, bytesOf, digestOf, imageOf, indexType, pushBlob, putManifest, type Served as Registry, serve } from '../support.ts'
import { clientOf, never } from '../upstream/ask.ts'

const name = parseName('some/app')
const there = parseName('mirror/app')
const tag = parseTag('v1')
const reference = parseReference('v1')
const mebibyte = 1024 * 1024

type Last = Extract<CopyEvent, { type: 'done' | 'failed' }>

interface Scene {
  source: Registry
  target: Registry
  proxy: PushProxy
  from: Source
  run(options?: Partial<CopyOptions> & { from?: Source }): Promise<{ events: CopyEvent[]; last: Last }>
}

/** Two registries in Local mode: one is read over HTTP, the other is pushed to over HTTP, through a proxy. */
async function scene(t: Test): Promise<Scene> {
  const [source, target] = [await serve(t), await serve(t)]
  const proxy = await startPushProxy(t, target.listen)
  const from = clientOf(t, [{ url: `http://${source.listen}` }]).upstream
  const registry = clientOf(t, [proxy]).upstream
  const run: Scene['run'] = async ({ from: given = from, ...options } = {}) => {
    const events: CopyEvent[] = []
    const all = { signal: never(), ...options }
    for await (const event of copy({ source: given, name, reference }, { registry, name: there }, all)) events.push(event)
    const last = events.at(-1)
    if (last?.type !== 'done' && last?.type !== 'failed') throw new Error(`the last event is ${last?.type}`)
    return { events, last }
  }
  return { source, target, proxy, from, run }
}

/** An image with layers of these sizes; gives its manifest and digest. */
async function addImage(served: Registry, sizes: number[], { to = name as string, more = {} }: { to?: string; more?: object } = {}) {
  const blobs = [bytesOf(64), ...sizes.map(bytesOf)] as [Buffer, ...Buffer[]]
  for (const each of blobs) await pushBlob(served, to, each)
  const manifest = imageOf(blobs, more as Record<string, unknown>)
  const digest = digestOf(manifest)
  const { status } = await putManifest(served, to, digest, manifest)
  if (status !== 201) throw new Error(`${status}`)
  return { manifest, digest, size: Buffer.byteLength(manifest), blobs }
}

/** An index of two platforms under the tag. */
async function addIndex(served: Registry) {
  const images = [await addImage(served, [1000, 2 * mebibyte]), await addImage(served, [300])]
  const platforms = [
    { os: 'linux', architecture: 'amd64' },
    { os: 'linux', architecture: 'arm64' }
  ]
  const manifests = images.map(({ digest, size }, at) => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size,
    platform: platforms[at]
  }))
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests, annotations: { kept: 'yes' } })
  await putManifest(served, name, 'v1', index, indexType)
  return { index, digest: digestOf(index), images }
}

const count = (events: CopyEvent[], type: string, result: string) =>
  events.filter(each => each.type === type && 'result' in each && each.result === result).length

test('copy: an index arrives with everything, bytes unchanged, children before parents and the tag last', async t => {
  const { source, target, proxy, run } = await scene(t)
  const { index, digest, images } = await addIndex(source)
  const { events, last } = await run()
  t.strictSame(last, {
    type: 'done',
    digest,
    tags: [tag],
    manifests: 3,
    blobs: 5,
    copiedBlobs: 5,
    copiedBytes: 1000 + 2 * mebibyte + 300 + 2 * 64
  })
  const got = await ask(target.listen, 'GET', `/v2/${there}/manifests/v1`, { headers: { accept: indexType } })
  t.equal(got.body.toString(), index)
  for (const { blobs } of images) {
    for (const each of blobs) t.ok((await ask(target.listen, 'GET', `/v2/${there}/blobs/${digestOf(each)}`)).body.equals(each))
  }
  const puts = proxy.requests.filter(each => each.method === 'PUT').map(each => each.path)
  t.equal(puts.at(-1), `/v2/${there}/manifests/${digest}?tag=v1`)
  t.equal(puts.filter(each => each.includes('/manifests/')).length, 3)
  t.equal(count(events, 'manifest', 'copied'), 3)
  const progress = events.findLast(each => each.type === 'progress')
  t.strictSame(progress, { type: 'progress', bytes: 1428 + 2 * mebibyte, knownBytes: 1428 + 2 * mebibyte })
})

test('copy: what is there is passed over, and nothing but a missing tag is written', async t => {
  const { source, proxy, target, run } = await scene(t)
  const { digest } = await addIndex(source)
  await run()
  proxy.requests.length = 0
  const { events, last } = await run()
  t.match(last, { type: 'done', digest, blobs: 5, copiedBlobs: 0, copiedBytes: 0 })
  t.equal(count(events, 'blob', 'present'), 5)
  t.equal(count(events, 'manifest', 'present'), 3)
  t.strictSame([...new Set(proxy.methods())], ['HEAD'])
  await ask(target.listen, 'DELETE', `/v2/${there}/manifests/v1`)
  proxy.requests.length = 0
  await run()
  t.equal(proxy.methods().filter(each => each !== 'HEAD').length, 1)
  t.equal((await ask(target.listen, 'GET', `/v2/${there}/manifests/v1`)).headers['docker-content-digest'], digest)
})

test('copy: of some platforms an index is written anew that lists just these, and nothing else is read', async t => {
  const { source, target, run } = await scene(t)
  const { digest, images } = await addIndex(source)
  const { events, last } = await run({ platforms: ['linux/arm64'] })
  if (last.type !== 'done') throw new Error(last.reason)
  t.not(last.digest, digest)
  t.match(
    events.find(each => each.type === 'manifest' && each.digest === last.digest),
    { rewrittenFrom: digest }
  )
  const got = JSON.parse((await ask(target.listen, 'GET', `/v2/${there}/manifests/v1`)).body.toString())
  t.match(got, { mediaType: indexType, annotations: { kept: 'yes' } })
  t.strictSame(
    got.manifests.map((each: { digest: string }) => each.digest),
    [images[1]?.digest]
  )
  t.equal((await ask(target.listen, 'GET', `/v2/${there}/manifests/${images[0]?.digest}`)).status, 404)
  t.match((await run({ platforms: ['linux/arm64'] })).last, { type: 'done', digest: last.digest, copiedBlobs: 0 })
  t.match((await run({ platforms: ['linux/s390x'] })).last, { type: 'failed', reason: /nothing for linux\/s390x/ })
})

test('copy: referrers come along with their own referrers where they are wanted', async t => {
  const { source, target, run } = await scene(t)
  const image = await addImage(source, [10])
  await putManifest(source, name, 'v1', image.manifest)
  const about = ({ digest, size }: { digest: string; size: number }) => ({
    subject: { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size }
  })
  const sbom = await addImage(source, [20], { more: about(image) })
  const signature = await addImage(source, [30], { more: about(sbom) })
  const status = async (digest: string) => (await ask(target.listen, 'GET', `/v2/${there}/manifests/${digest}`)).status
  t.match((await run()).last, { type: 'done', manifests: 1 })
  t.equal(await status(sbom.digest), 404)
  t.match((await run({ referrers: 'copy' })).last, { type: 'done', digest: image.digest, manifests: 3, blobs: 6, copiedBlobs: 4 })
  t.equal(await status(sbom.digest), 200)
  t.equal(await status(signature.digest), 200)
  const { body } = await ask(target.listen, 'GET', `/v2/${there}/referrers/${image.digest}`)
  t.match(JSON.parse(body.toString()), { manifests: [{ digest: sbom.digest }] })
})

test('copy: a connection that is cut in the middle of a blob is resumed where the session stands', async t => {
  const { source, target, proxy, run } = await scene(t)
  const image = await addImage(source, [3 * mebibyte])
  await putManifest(source, name, 'v1', image.manifest)
  // The config comes first, and whole.
  proxy.faults.cutAt = [Number.POSITIVE_INFINITY, mebibyte]
  const { last } = await run({ concurrency: 1 })
  t.match(last, { type: 'done', digest: image.digest, copiedBytes: 3 * mebibyte + 64 })
  const layer = image.blobs[1] as Buffer
  const resumed = proxy.requests.filter(each => each.method === 'PUT' && each.headers['content-range'] !== undefined).at(-1)
  t.ok(Number(resumed?.headers['content-length']) < layer.length, 'what had arrived is not sent again')
  t.ok((await ask(target.listen, 'GET', `/v2/${there}/blobs/${digestOf(layer)}`)).body.equals(layer))
})

test('copy: chunks are as large as allowed, and a cut between them is resumed', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [mebibyte])
  await putManifest(source, name, 'v1', image.manifest)
  proxy.faults.cutAt = [Number.POSITIVE_INFINITY, 100_000]
  t.match((await run({ concurrency: 1, chunkBytes: 300_000 })).last, { type: 'done', digest: image.digest })
  const lengths = proxy.requests.filter(each => each.method === 'PATCH').map(each => Number(each.headers['content-length']))
  t.ok(lengths.length >= 3)
  t.ok(lengths.every(each => each <= 300_000))
  t.strictSame(proxy.faults.cutAt, [], 'it was cut')
  t.ok(proxy.methods().includes('GET'), 'and the session was asked for its offset')
})

test('copy: a source that is slower than the sink is no failure of the source when the sink breaks', async t => {
  const { source, proxy, from, run } = await scene(t)
  const image = await addImage(source, [mebibyte])
  await putManifest(source, name, 'v1', image.manifest)
  const layer = image.blobs[1] as Buffer
  proxy.faults.cutAt = [Number.POSITIVE_INFINITY, 1000, 2000]
  let opened = 0
  // The first two bodies give one piece, then nothing until they are closed.
  const slow = instead(from, parseDigest(digestOf(layer)), () => {
    const whole = bodyOf(layer)
    if (++opened > 2) return whole
    const closed = Promise.withResolvers<number>()
    const readInto: Body['readInto'] = (into, position) =>
      position === 0 || into.length === 0 ? whole.body.readInto(into, position) : closed.promise
    const close = async () => closed.reject(new Error('closed'))
    closed.promise.catch(() => {})
    return { ...whole, body: { readInto, close } }
  })
  t.match((await run({ from: slow, concurrency: 1 })).last, { type: 'done', digest: image.digest })
  t.equal(opened, 3)
})

test('copy: one that was broken off goes on where it was, when it is begun again', async t => {
  const { source, proxy, run } = await scene(t)
  const { digest } = await addIndex(source)
  const left = new AbortController()
  proxy.faults.rewrite = (_headers, request) => {
    if (request.path.includes('/manifests/') && request.method === 'PUT') left.abort(new Error('left'))
  }
  await t.rejects(run({ concurrency: 1, signal: left.signal }), { message: 'left' })
  delete proxy.faults.rewrite
  const { last } = await run()
  if (last.type !== 'done') throw new Error(last.reason)
  t.equal(last.digest, digest)
  t.ok(last.copiedBlobs > 0 && last.copiedBlobs < last.blobs, `${last.copiedBlobs}`)
})

test('copy: a blob whose session was not begun for a lost response is begun anew', async t => {
  const { source, target, proxy, run } = await scene(t)
  const image = await addImage(source, [500])
  await putManifest(source, name, 'v1', image.manifest)
  proxy.faults.lost = { method: 'POST', times: 2 }
  t.match((await run({ concurrency: 1 })).last, { type: 'done', copiedBlobs: 2 })
  for (const each of image.blobs) await pushBlob(target, 'base', each)
  await ask(target.listen, 'DELETE', `/v2/${there}/blobs/${digestOf(image.blobs[1] as Buffer)}`)
  proxy.faults.lost = { method: 'POST', times: 1 }
  const { events, last } = await run({ concurrency: 1, mountFrom: parseName('base') })
  t.match(last, { type: 'done', copiedBlobs: 0 })
  t.equal(count(events, 'blob', 'mounted'), 1, 'and a mount is repeated')
})

test('copy: attempts to begin a session are bounded', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [])
  await putManifest(source, name, 'v1', image.manifest)
  proxy.faults.lost = { method: 'POST', times: 100 }
  t.match((await run()).last, { type: 'failed', error: { kind: 'broken' } })
  t.equal(proxy.methods().filter(each => each === 'POST').length, 3)
})

test('copy: a session that the target has lost is begun anew, a few times', async t => {
  const { source, target, proxy, run } = await scene(t)
  const image = await addImage(source, [mebibyte])
  await putManifest(source, name, 'v1', image.manifest)
  const sessions = () => proxy.methods().filter(each => each === 'POST').length
  const lost = (times: number) => ({ status: 404, times, when: (each: { path: string }) => /uploads\/./.test(each.path) })
  // The PATCH, and the GET that asks for the offset.
  proxy.faults.status = lost(2)
  const { events, last } = await run({ concurrency: 1, chunkBytes: 300_000 })
  t.match(last, { type: 'done', copiedBlobs: 2, copiedBytes: mebibyte + 64 })
  t.equal(sessions(), 3)
  const progress = events.findLast(each => each.type === 'progress')
  t.match(progress, { bytes: mebibyte + 64 }, 'bytes that are read again are counted once')
  for (const each of image.blobs) await ask(target.listen, 'DELETE', `/v2/${there}/blobs/${digestOf(each)}`)
  proxy.faults.status = lost(100)
  proxy.requests.length = 0
  t.match((await run({ concurrency: 1 })).last, { type: 'failed', error: { kind: 'not-found' } })
  t.equal(sessions(), 3)
})

test('copy: a session is kept through a rate limit', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [1000])
  await putManifest(source, name, 'v1', image.manifest)
  const when = ({ method }: { method: string }) => method === 'PATCH'
  proxy.faults.status = { status: 429, times: 1, when, headers: { 'retry-after': '1' } }
  t.match((await run({ concurrency: 1, chunkBytes: 600 })).last, { type: 'done', copiedBlobs: 2 })
  t.equal(proxy.faults.status.times, 0)
  t.equal(proxy.methods().filter(each => each === 'POST').length, 2)
})

test('copy: a blob is sent once where the target refuses it', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [])
  await putManifest(source, name, 'v1', image.manifest)
  for (const status of [400, 401, 403, 405, 413, 307]) {
    proxy.requests.length = 0
    proxy.faults.status = { status, times: 100, when: each => each.method === 'PUT', headers: { location: '/elsewhere' } }
    t.match((await run()).last, { type: 'failed', error: { name: 'UpstreamError' } })
    t.equal(proxy.methods().filter(each => each === 'PUT').length, 1, `${status}`)
  }
})

test('copy: a token that expires before a body is renewed, and the body is sent again', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [])
  await putManifest(source, name, 'v1', image.manifest)
  proxy.faults.token = { given: [], value: 'first' }
  proxy.faults.rewrite = (_headers, { method }) => {
    if (method === 'POST' && proxy.faults.token) proxy.faults.token.value = 'second'
  }
  t.match((await run()).last, { type: 'done', copiedBlobs: 1 })
})

test('copy: the push decides where a target refuses to tell what it has', async t => {
  const { source, proxy, run } = await scene(t)
  const image = await addImage(source, [10])
  await putManifest(source, name, 'v1', image.manifest)
  for (const status of [401, 403]) {
    proxy.faults.status = { status, times: 100, when: each => each.method === 'HEAD' || each.method === 'GET' }
    t.match((await run()).last, { type: 'done', digest: image.digest, copiedBlobs: 2 }, `${status}`)
  }
  proxy.faults.status = { status: 403, times: 100, when: () => true }
  t.match((await run()).last, { type: 'failed', reason: /POST/, error: { kind: 'denied' } })
})

test('copy: a manifest of an unknown kind fails the copy, and no tag is set', async t => {
  const { source, target, from, proxy, run } = await scene(t)
  await addIndex(source)
  const odd = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.odd+json', parts: [] }))
  const digest = parseDigest(digestOf(odd))
  const manifests = [{ mediaType: 'application/vnd.odd+json', digest, size: odd.length }]
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }))
  const given =
    (bytes: Buffer, mediaType: string): Source['getManifest'] =>
    async () => ({
      value: { descriptor: { mediaType, digest: parseDigest(digestOf(bytes)), size: bytes.length }, bytes },
      outcome: 'bypass'
    })
  const child: Source = {
    ...overriding(from, (name, wanted, { signal }) => from.openBlob(name, wanted, { signal })),
    getManifest: (...wanted) => given(wanted[1].digest === digest ? odd : index, indexType)(...wanted)
  }
  for (const each of [child, { ...child, getManifest: given(odd, 'application/vnd.odd+json') }]) {
    t.match((await run({ from: each })).last, { type: 'failed', digest, reason: /unknown kind \(application\/vnd.odd\+json\)/ })
  }
  t.notOk(proxy.methods().includes('PUT'))
  t.equal((await ask(target.listen, 'GET', `/v2/${there}/manifests/v1`)).status, 404)
})

test('copy: options that cannot be are refused', async t => {
  const { run } = await scene(t)
  for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    await t.rejects(run({ chunkBytes: value }), { name: 'RangeError', message: /chunkBytes is .*, not a positive integer/ })
    await t.rejects(run({ concurrency: value }), { name: 'RangeError', message: /concurrency/ })
  }
})

test('copy: a consumer that stops reading the events ends it', async t => {
  const { source, proxy, from } = await scene(t)
  await addIndex(source)
  const { upstream: registry } = clientOf(t, [proxy])
  for await (const event of copy({ source: from, name, reference }, { registry, name: there }, { signal: never(), concurrency: 1 })) {
    if (event.type === 'blob') break
  }
  const before = proxy.requests.length
  await new Promise(setImmediate)
  t.equal(proxy.requests.length, before)
  t.notOk(proxy.requests.some(each => each.path.includes('?tag=')))
})

test('copy: a blob that the source lacks fails the copy, names the blob, and sets no tag', async t => {
  const { source, target, from, run } = await scene(t)
  const { images } = await addIndex(source)
  const lost = parseDigest(digestOf(images[0]?.blobs[2] as Buffer))
  const { last } = await run({
    from: instead(from, lost, () => {
      throw new OciError('BLOB_UNKNOWN')
    })
  })
  t.match(last, { type: 'failed', digest: lost, error: { code: 'BLOB_UNKNOWN' } })
  t.equal((await ask(target.listen, 'GET', `/v2/${there}/manifests/v1`)).status, 404)
  t.match((await run()).last, { type: 'done' }, 'and with the blob it is whole')
})

test('copy: a wrong byte of the source never arrives, and ends the copy at once', async t => {
  const { source, target, from, proxy, run } = await scene(t)
  const { images } = await addIndex(source)
  const blob = images[0]?.blobs[2] as Buffer
  const digest = parseDigest(digestOf(blob))
  const wrong = Buffer.from(blob)
  wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1
  const { last } = await run({ from: instead(from, digest, () => bodyOf(wrong)), concurrency: 1 })
  t.match(last, { type: 'failed', digest, error: { code: 'DIGEST_INVALID' } })
  t.equal((await ask(target.listen, 'GET', `/v2/${there}/blobs/${digest}`)).status, 404)
  t.ok(proxy.methods().includes('DELETE'), 'the session is ended')
  const short = instead(from, digest, () => bodyOf(blob.subarray(0, 1000)))
  t.match((await run({ from: short })).last, { type: 'failed', digest, error: { code: 'DIGEST_INVALID' } })
})

test('copy: blobs are mounted from a repository of the target that has them', async t => {
  const { source, target, proxy, run } = await scene(t)
  const image = await addImage(source, [500])
  await putManifest(source, name, 'v1', image.manifest)
  for (const each of image.blobs) await pushBlob(target, 'base', each)
  const { events, last } = await run({ mountFrom: parseName('base') })
  t.match(last, { type: 'done', copiedBlobs: 0 })
  t.equal(count(events, 'blob', 'mounted'), 2)
  t.notOk(proxy.requests.some(each => each.method === 'PUT' && each.path.includes('/uploads/')))
})

test('copy: non-distributable layers are passed over', async t => {
  const { source, run } = await scene(t)
  const config = bytesOf(10)
  await pushBlob(source, name, config)
  const foreign = {
    mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    digest: digestOf('foreign'),
    size: 7,
    urls: ['https://a.example']
  }
  const manifest = imageOf([config], { layers: [foreign] })
  t.equal((await putManifest(source, name, 'v1', manifest)).status, 201)
  const { events, last } = await run()
  t.match(last, { type: 'done', blobs: 2, copiedBlobs: 1 })
  t.equal(count(events, 'blob', 'skipped'), 1)
})

test('copy: no more visits run at once than allowed, and no blob is held whole', async t => {
  const { source, proxy, from, run } = await scene(t)
  const image = await addImage(
    source,
    Array.from({ length: 10 }, () => mebibyte)
  )
  await putManifest(source, name, 'v1', image.manifest)
  let [open, most, largest] = [0, 0, 0]
  const watched = watching(from, {
    opened: () => {
      most = Math.max(most, ++open)
    },
    closed: () => open--,
    read: length => {
      largest = Math.max(largest, length)
    }
  })
  t.match((await run({ from: watched, concurrency: 3 })).last, { type: 'done' })
  t.ok(most <= 3 && most > 1, `${most}`)
  t.equal(open, 0)
  t.ok(largest <= 256 * 1024)
  t.ok(proxy.requests.length > 0)
})

/** The source, but for one blob. */
function instead(source: Source, digest: string, open: () => OpenBlob): Source {
  return overriding(source, async (name, wanted, want) =>
    wanted === digest ? { value: open(), outcome: 'bypass' } : source.openBlob(name, wanted, { signal: want.signal })
  )
}

function watching(source: Source, watch: { opened(): void; closed(): void; read(length: number): void }): Source {
  return overriding(source, async (name, digest, want) => {
    const served = await source.openBlob(name, digest, { signal: want.signal })
    watch.opened()
    const { body } = served.value
    const watched: Body = {
      readInto: (into, position) => {
        watch.read(into.length)
        return body.readInto(into, position)
      },
      close: async () => {
        watch.closed()
        await body.close()
      }
    }
    return { ...served, value: { ...served.value, body: watched } }
  })
}

type Open = (...given: [Parameters<Source['openBlob']>[0], Parameters<Source['openBlob']>[1], BlobRequest]) => Promise<Served<OpenBlob>>

function overriding(source: Source, openBlob: Open): Source {
  return {
    statBlob: (...given) => source.statBlob(...given),
    openBlob,
    statManifest: (...given) => source.statManifest(...given),
    getManifest: (...given) => source.getManifest(...given),
    listTags: (...given) => source.listTags(...given),
    listReferrers: (...given) => source.listReferrers(...given),
    listNames: (...given) => source.listNames(...given)
  }
}

function bodyOf(bytes: Buffer): OpenBlob {
  const body: Body = {
    readInto: async (into, position) => bytes.copy(into, 0, position),
    close: async () => {}
  }
  return { size: bytes.length, part: { offset: 0, length: bytes.length }, body }
}
