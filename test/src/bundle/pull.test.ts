// Report: an interrupted pull began anew, a half-written archive looked like a whole one, and signatures stayed behind.
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { pack } from 'tar-stream'
import { Bundle } from '../../../src/bundle/bundle.ts'
import { archiveOf } from '../../../src/bundle/pull/archive-plan.ts'
import { type PullEvent, type PullOptions, pullBundle } from '../../../src/bundle/pull/pull.ts'
import { imagesOfRelease } from '../../../src/bundle/pull/release.ts'
import type { WantedImage } from '../../../src/bundle/pull/resolve.ts'
import { nameBelow } from '../../../src/bundle/source.ts'
import { parseName, parseReference, parseTag } from '../../../src/oci/name.ts'
import { digestOf } from '../../support/bundle.ts'
import { mountSmall } from '../../support/place.ts'
import { type PushProxy, startPushProxy } from '../../support/push-proxy.ts'
import { folder, imageOf, imageType, indexType, pushBlob, putManifest, type Served, serve } from '../support.ts'
import { clientOf, never } from '../upstream/ask.ts'
import { opened, verified } from './scene.ts'

const root = parseName('deckhouse/ee')
const patientLimits = { connections: 8, connectTimeout: 120_000, headerTimeout: 120_000, bodyTimeout: 120_000 }

const wanted = (text: string): WantedImage => {
  const [, path = '', mark = ':', reference = ''] = /^([^:@]*)([:@])(.+)$/.exec(text) ?? []
  return { path, name: nameBelow(root, path), reference: parseReference(mark === ':' ? reference : reference) }
}

interface PullScene {
  source: Served
  proxy: PushProxy
  /** Pushes an image with these layers; gives its digest. */
  add(
    path: string,
    tag: string,
    layers?: Buffer[],
    more?: Record<string, unknown>
  ): Promise<{ digest: string; size: number; blobs: Buffer[] }>
  pull(texts: readonly string[], place: string, options?: Partial<PullOptions>): Promise<PullEvent[]>
}

async function scene(t: Test): Promise<PullScene> {
  const source = await serve(t)
  const proxy = await startPushProxy(t, source.listen)
  const upstream = clientOf(t, [proxy], { limits: patientLimits }).upstream
  return {
    source,
    proxy,
    add: async (path, tag, layers = [randomBytes(2000), randomBytes(90_000)], more = {}) => {
      const blobs: [Buffer, ...Buffer[]] = [randomBytes(40), ...layers]
      for (const each of blobs) await pushBlob(source, nameBelow(root, path), each)
      const manifest = imageOf(blobs, more)
      const { status } = await putManifest(source, nameBelow(root, path), tag, manifest)
      if (status !== 201) throw new Error(`${status}`)
      return { digest: digestOf(Buffer.from(manifest)), size: Buffer.byteLength(manifest), blobs }
    },
    pull: async (texts, place, options = {}) => {
      const all: PullOptions = {
        source: upstream,
        from: `registry.test/${root}`,
        folder: place,
        platforms: [],
        referrers: 'take',
        atOnce: 3,
        patienceMs: 60_000,
        signal: never(),
        ...options
      }
      return (await Array.fromAsync(pullBundle(texts.map(wanted), all))).filter(each => each.type !== 'progress')
    }
  }
}

const bytesIn = (place: string) =>
  Object.fromEntries(
    readdirSync(place)
      .sort()
      .map(file => [file, readFileSync(join(place, file))])
  )

async function someImages(the: PullScene): Promise<string[]> {
  const shared = randomBytes(200_000)
  await the.add('', 'v1', [shared, randomBytes(1000)])
  await the.add('install', 'v1', [shared])
  await the.add('modules/console', 'v1.0.0')
  await the.add('modules/console/release', 'stable')
  const byDigest = await the.add('', 'unnamed')
  return [':v1', 'install:v1', 'modules/console:v1.0.0', 'modules/console/release:stable', `@${byDigest.digest}`]
}

test('pull: images become archives that d8 names alike, sound and complete, with its annotations', async t => {
  const the = await scene(t)
  const place = folder(t)
  const texts = await someImages(the)
  const events = await the.pull(texts, place)
  t.match(events.at(-1), { type: 'done', images: 5, failed: 0, archives: 2, presentBlobs: 0, leftOut: 0 })
  t.same(readdirSync(place).sort(), ['module-console.tar', 'platform.tar'])
  t.match(await verified(t, place), [{ type: 'done', images: 5, faults: 0 }])
  const { bundle, plan, notices } = await opened(t, place)
  t.same(notices, [])
  const digest = texts.at(-1)?.slice(1) ?? ''
  t.same(
    plan.images.map(each => `${each.path}:${each.tag}`),
    [`:${digest.slice(7)}`, ':v1', 'install:v1', 'modules/console:v1.0.0', 'modules/console/release:stable']
  )
  t.same(
    bundle.repositories.get('')?.images.map(each => each.reference),
    [`registry.test/deckhouse/ee@${digest}`, 'registry.test/deckhouse/ee:v1']
  )
})

test('pull: the archives for repositories are those of d8', t => {
  const names = {
    '': 'platform.tar',
    install: 'platform.tar',
    'release-channel': 'platform.tar',
    installer: 'installer.tar',
    'security/trivy-db': 'security.tar',
    'modules/console': 'module-console.tar',
    'modules/console/extra/x': 'module-console.tar',
    'packages/a/version': 'package-a.tar',
    'deckhouse-cli': 'deckhouse-cli.tar',
    'deckhouse-cli/plugins/p': 'plugin-p.tar'
  }
  for (const [path, name] of Object.entries(names)) t.equal(archiveOf(path), name, path)
  t.end()
})

test('pull: chunks joined are the archive byte by byte, and a second run fetches nothing', async t => {
  const the = await scene(t)
  const [place, chunked] = [folder(t), folder(t)]
  const texts = await someImages(the)
  await the.pull(texts, place)
  await the.pull(texts, chunked, { chunkBytes: 64 * 1024 })
  const chunks = bytesIn(chunked)
  for (const [archive, bytes] of Object.entries(bytesIn(place))) {
    const own = Object.keys(chunks).filter(each => each.startsWith(`${archive}.`))
    t.ok(own.length > 1 && own.every((each, at) => each === `${archive}.${String(at).padStart(4, '0')}.chunk`), own.join(', '))
    t.ok(Buffer.concat(own.map(each => chunks[each] ?? Buffer.alloc(0))).equals(bytes), archive)
  }
  the.proxy.requests.length = 0
  const again = await the.pull(texts, chunked, { chunkBytes: 64 * 1024 })
  t.match(again.at(-1), { fetchedBlobs: 0, fetchedBytes: 0, presentBlobs: 14 })
  t.notOk(the.proxy.requests.some(each => each.method === 'GET' && each.path.includes('/blobs/')))
})

for (const chunkBytes of [undefined, 64 * 1024]) {
  test(`pull: interrupted again and again, in ${chunkBytes === undefined ? 'one file' : 'chunks'}, it ends with the bytes of one that was not`, async t => {
    const the = await scene(t)
    const [place, whole] = [folder(t), folder(t)]
    const texts = await someImages(the)
    const size = chunkBytes === undefined ? {} : { chunkBytes }
    await the.pull(texts, whole, size)
    let runs = 0
    for (let ended = false; !ended; runs++) {
      const broken = new AbortController()
      let events = 0
      const sizes = { ...size, atOnce: 1, signal: broken.signal }
      const run = (async () => {
        const all: PullOptions = {
          source: clientOf(t, [the.proxy], { limits: patientLimits }).upstream,
          from: `registry.test/${root}`,
          folder: place,
          platforms: [],
          referrers: 'leave',
          patienceMs: 60_000,
          ...sizes
        }
        for await (const event of pullBundle(texts.map(wanted), all))
          if (event.type === 'progress' && ++events > 2 + runs) broken.abort(new Error('interrupted'))
      })()
      ended = await run.then(
        () => true,
        error => {
          t.match(error, { message: 'interrupted' })
          return false
        }
      )
      for (const [file, bytes] of Object.entries(bytesIn(place)))
        if (!file.endsWith('.tmp')) t.ok(bytes.equals(readFileSync(join(whole, file))), `${file} is whole`)
    }
    t.ok(runs > 2, `${runs} runs`)
    t.same(bytesIn(place), bytesIn(whole))
  })
}

test('pull: what an earlier run left damaged is fetched again, and nothing else is', async t => {
  const the = await scene(t)
  const [place, whole] = [folder(t), folder(t)]
  const texts = await someImages(the)
  await the.pull(texts, whole)
  const { bundle, plan } = await opened(t, whole)
  const largest = plan.images.flatMap(each => each.blobs).find(each => each.size === 200_000)
  const begin = (largest && bundle.locate(largest.digest)?.offset) ?? 0
  const bytes = readFileSync(join(whole, 'platform.tar'))
  // As after a power loss: the size is right, and a part was never written.
  bytes.fill(0, begin + 60_000, begin + 70_000)
  writeFileSync(join(place, 'platform.tar.tmp'), bytes)
  writeFileSync(join(place, 'module-console.tar.tmp'), readFileSync(join(whole, 'module-console.tar')).subarray(0, 5000))
  const events = await the.pull(texts, place)
  t.same(bytesIn(place), bytesIn(whole))
  const last = events.at(-1)
  t.ok(last?.type === 'done' && last.fetchedBlobs === 6 + 1 && last.presentBlobs === 7, JSON.stringify(last))
})

test('pull: an archive of another bundle, or of other chunks, is left alone', async t => {
  const the = await scene(t)
  const texts = await someImages(the)
  const place = folder(t)
  writeFileSync(join(place, 'platform.tar'), 'something else')
  await t.rejects(the.pull(texts, place), { name: 'OtherArchive', message: /platform\.tar is there, and is of another bundle/ })
  t.equal(readFileSync(join(place, 'platform.tar'), 'utf8'), 'something else')
  const chunked = folder(t)
  await the.pull(texts, chunked, { chunkBytes: 64 * 1024 })
  await t.rejects(the.pull(texts, chunked), { name: 'OtherArchive', message: /another --chunk-size/ })
  await the.add('', 'v1')
  await t.rejects(the.pull(texts, chunked, { chunkBytes: 64 * 1024 }), { name: 'OtherArchive' })
})

test('pull: references that are not there are told one by one, and nothing is written', async t => {
  const the = await scene(t)
  await the.add('', 'v1')
  const place = join(folder(t), 'new')
  const events = await the.pull([':v1', ':v2', 'nothing:here'], place)
  t.match(events, [
    { type: 'image', image: ':v2', result: 'failed', reason: /404/ },
    { type: 'image', image: 'nothing:here', result: 'failed' },
    { type: 'done', failed: 2, archives: 0 }
  ])
  t.throws(() => readdirSync(place))
})

test('pull: signatures and other referrers come along, by the referrers API and by cosign tags, with their own', async t => {
  const the = await scene(t)
  const image = await the.add('', 'v1')
  const about = { subject: { mediaType: imageType, digest: image.digest, size: image.size }, artifactType: 'application/vnd.test.sbom' }
  const sbom = await the.add('', 'sbom', [randomBytes(10)], about)
  const signed = { subject: { mediaType: imageType, digest: sbom.digest, size: sbom.size } }
  const signature = await the.add('', 'signature-of-sbom', [randomBytes(10)], signed)
  const cosign = await the.add('', `sha256-${image.digest.slice(7)}.sig`, [randomBytes(10)])
  const place = folder(t)
  await the.pull([':v1'], place)
  const { plan } = await opened(t, place)
  t.same(plan.images.map(each => each.digest).sort(), [image.digest, sbom.digest, signature.digest, cosign.digest].sort())
  t.same(
    plan.images.flatMap(each => (each.tag?.startsWith('sha256-') ? [each.tag] : [])),
    [`sha256-${image.digest.slice(7)}.sig`]
  )
  t.match(plan.referrers.get(image.digest as never), [{ digest: sbom.digest, artifactType: 'application/vnd.test.sbom' }])
  const without = folder(t)
  await the.pull([':v1'], without, { referrers: 'leave' })
  t.equal((await opened(t, without)).plan.images.length, 1)
})

test('pull: of one platform a tagged index lists that alone; what a digest names stays whole', async t => {
  const the = await scene(t)
  const [amd, arm] = [await the.add('', 'amd'), await the.add('', 'arm')]
  const manifests = [
    { mediaType: imageType, digest: amd.digest, size: amd.size, platform: { os: 'linux', architecture: 'amd64' } },
    { mediaType: imageType, digest: arm.digest, size: arm.size, platform: { os: 'linux', architecture: 'arm64' } }
  ]
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests })
  await putManifest(the.source, root, 'v1', index, indexType)
  const place = folder(t)
  await the.pull([':v1'], place, { platforms: ['linux/amd64'] })
  const { plan, faults } = await opened(t, place)
  t.same(faults, [])
  t.equal(plan.images.length, 1)
  t.not(plan.images[0]?.digest, digestOf(Buffer.from(index)))
  t.same(plan.images[0]?.manifests.slice(0, 1), [amd.digest])
  const whole = folder(t)
  await the.pull([`@${digestOf(Buffer.from(index))}`], whole, { platforms: ['linux/amd64'] })
  t.equal((await opened(t, whole)).plan.images[0]?.manifests.length, 3)
  t.match((await the.pull([':v1'], folder(t), { platforms: ['linux/s390x'] }))[0], { result: 'failed', reason: /nothing for linux\/s390x/ })
})

test('pull: since another bundle, what that has is left out, and both together are complete', async t => {
  const the = await scene(t)
  const shared = randomBytes(50_000)
  await the.add('', 'v1', [shared])
  const base = folder(t)
  await the.pull([':v1'], base)
  await the.add('', 'v2', [shared, randomBytes(70_000)])
  const delta = folder(t)
  const since = await Bundle.open({ paths: [base], signal: never() })
  t.teardown(() => since[Symbol.asyncDispose]())
  t.match((await the.pull([':v2'], delta, { since })).at(-1), { fetchedBlobs: 2, leftOut: 1 })
  t.match(await verified(t, delta), [
    { type: 'fault', digest: digestOf(shared), reason: /lacks it/ },
    { type: 'done', faults: 1 }
  ])
  t.match(await verified(t, base, delta), [{ type: 'done', images: 2, faults: 0 }])
})

test('pull: cut connections and 503 cost nothing, and wrong bytes never become an archive', async t => {
  const the = await scene(t)
  const texts = await someImages(the)
  the.proxy.faults.status = { status: 503, times: 2, when: each => each.path.includes('/blobs/') }
  const place = folder(t)
  await the.pull(texts, place)
  t.match(await verified(t, place), [{ type: 'done', faults: 0 }])
  const bad = await the.add('', 'bad')
  const data = join(
    the.source.root,
    'docker/registry/v2/blobs/sha256',
    digestOf(bad.blobs[2] ?? Buffer.alloc(0)).slice(7, 9),
    digestOf(bad.blobs[2] ?? Buffer.alloc(0)).slice(7),
    'data'
  )
  const bytes = readFileSync(data)
  bytes[5] = (bytes[5] ?? 0) ^ 1
  writeFileSync(data, bytes)
  const wrong = folder(t)
  await t.rejects(the.pull([':bad'], wrong), /upstream sent bytes of sha256/)
  t.same(readdirSync(wrong), ['platform.tar.tmp'])
})

test('pull: a full disk loses the file under way, keeps those that are whole, and the next run goes on', async t => {
  const small = await mountSmall(t, 400 * 1024)
  if (typeof small === 'string') return void t.pass(small, { skip: small })
  const the = await scene(t)
  await the.add('', 'v1', [randomBytes(150_000), randomBytes(150_000), randomBytes(150_000), randomBytes(150_000)])
  const whole = folder(t)
  await the.pull([':v1'], whole, { chunkBytes: 64 * 1024 })
  await t.rejects(the.pull([':v1'], small.directory, { chunkBytes: 64 * 1024, atOnce: 1 }), { code: 'ENOSPC' })
  const left = readdirSync(small.directory)
  t.notOk(
    left.some(each => each.endsWith('.tmp')),
    left.join(', ')
  )
  t.ok(left.length > 0)
  await small.remount('size=2m')
  t.match((await the.pull([':v1'], small.directory, { chunkBytes: 64 * 1024 })).at(-1), { type: 'done', failed: 0 })
  t.same(bytesIn(small.directory), bytesIn(whole))
})

test('pull: a release is what its tags name and what the list of its installer names', async t => {
  const the = await scene(t)
  const part = await the.add('', 'part')
  const tar = pack()
  tar.entry({ name: 'deckhouse/candi/link', type: 'symlink', linkname: '/etc' }, Buffer.alloc(0))
  tar.entry(
    { name: 'deckhouse/candi/images_digests.json' },
    JSON.stringify({ console: { backend: part.digest, frontend: part.digest }, other: {} })
  )
  tar.entry({ name: 'deckhouse/candi/more' }, randomBytes(200_000))
  tar.finalize()
  const layer = gzipSync(await buffer(Readable.from(tar)))
  await the.add('', 'v1.70.0')
  const config = randomBytes(20)
  for (const each of [config, layer]) await pushBlob(the.source, nameBelow(root, 'install'), each)
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: imageType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(config), size: config.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: digestOf(layer), size: layer.length }]
  })
  await putManifest(the.source, nameBelow(root, 'install'), 'v1.70.0', manifest)
  await the.add('release-channel', 'v1.70.0')
  const { upstream } = clientOf(t, [the.proxy], { limits: patientLimits })
  const images = await imagesOfRelease(upstream, root, { tag: parseTag('v1.70.0'), signal: never() })
  t.same(
    images.map(({ path, reference }) => `${path} ${reference.digest ?? reference.tag}`),
    [' v1.70.0', 'install v1.70.0', 'release-channel v1.70.0', ` ${part.digest}`]
  )
  await the.add('install', 'v1.71.0')
  await t.rejects(
    imagesOfRelease(upstream, root, { tag: parseTag('v1.71.0'), signal: never() }),
    /has no deckhouse\/candi\/images_digests\.json/
  )
  await t.rejects(imagesOfRelease(upstream, root, { tag: parseTag('v9'), signal: never() }), /answered 404/)
})
