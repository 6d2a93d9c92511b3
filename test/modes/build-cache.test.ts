// The report (nexus-public#967): `docker buildx build --cache-to type=registry,image-manifest=false` pushes an index
// that lists gzipped layers and a config of BuildKit's own type, all of them blobs. A registry that looks for manifests
// there answers 404 for content that it has; one that believes the media types loses it with the next collection.
import { readdir, rm, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { streamControl } from '../../src/ports/control-client.ts'
import { ask, codeOf, dataPath, digestOf, layerPath, pushBlob, putManifest, type Served, serve } from '../src/support.ts'
import { verifiedOf, whyOf } from '../src/why/scene.ts'
import { type BuildCache, buildCacheTypes, makeBuildCache } from '../support/build-cache.ts'
import { startUpstream } from '../support/upstream.ts'
import { behind, prefix, serveModes } from './scene.ts'

type Event = Record<string, unknown> & { type: string }

const name = 'build/cache'

async function pushCache(served: Served, cache: BuildCache, tag = 'main'): Promise<number> {
  for (const each of cache.blobs) await pushBlob(served, name, each)
  return (await putManifest(served, name, tag, cache.index, cache.mediaType)).status
}

async function isPullable(t: Test, served: Served, at: string, cache: BuildCache): Promise<void> {
  const index = await ask(served.listen, 'GET', `/v2/${at}/manifests/main`, { headers: { accept: cache.mediaType } })
  t.strictSame([index.status, index.body.toString(), index.headers['content-type']], [200, cache.index, cache.mediaType])
  for (const each of cache.blobs) {
    const blob = await ask(served.listen, 'GET', `/v2/${at}/blobs/${digestOf(each)}`)
    t.strictSame([blob.status, blob.body.equals(each)], [200, true])
  }
}

async function run({ config }: Served, path: string, body: object): Promise<Event[]> {
  const call = { method: 'POST', path, body, idleTimeoutMs: 0 } as const
  return (await Array.fromAsync(streamControl(config.server.control, call))) as Event[]
}

/** Makes everything stored look as if it had been there for two days. */
async function age(served: Served): Promise<void> {
  const old = Date.now() / 1000 - 48 * 3600
  for (const entry of await readdir(join(served.root, 'docker'), { recursive: true, withFileTypes: true }))
    if (entry.isFile()) await utimes(join(entry.parentPath, entry.name), old, old)
}

for (const [kind, types] of Object.entries(buildCacheTypes)) {
  test(`Local: BuildKit's cache of ${kind} media types is pushed and pulled, verified, scrubbed, and kept by garbage collection`, async t => {
    const served = await serve(t)
    const cache = makeBuildCache(types)
    t.equal(await pushCache(served, cache), 201)
    await pushBlob(served, name, Buffer.from('needed by nothing'))
    const bytes = cache.index.length + cache.blobs.reduce((total, each) => total + each.length, 0)
    t.match(await verifiedOf(served, [`${name}:main`], 'digest'), [{ complete: true, manifests: 1, blobs: 4, bytes, lacks: [] }])
    t.match(
      (await run(served, '/upkeep/scrub', {})).filter(each => ['warning', 'damaged'].includes(each.type)),
      []
    )
    await age(served)
    const removed = (await run(served, '/upkeep/gc', { dryRun: false })).filter(each => each.type === 'remove' && each['kind'] === 'blob')
    t.match(removed, [{ digest: digestOf('needed by nothing') }])
    await isPullable(t, served, name, cache)
  })
}

test('Local: what an index lists has to be there, whether it is called a blob or a manifest', async t => {
  const served = await serve(t)
  const cache = makeBuildCache()
  const [first, ...rest] = cache.blobs as [Buffer, ...Buffer[]]
  for (const each of rest) await pushBlob(served, name, each)
  await pushBlob(served, 'build/other', first)
  const answer = await putManifest(served, name, 'main', cache.index, cache.mediaType)
  t.strictSame([answer.status, codeOf(answer)], [404, 'MANIFEST_BLOB_UNKNOWN'])
  t.match(answer.body.toString(), digestOf(first))
  const misnamed = makeBuildCache(buildCacheTypes.oci, each => ({ ...each, mediaType: 'application/vnd.oci.image.manifest.v1+json' }))
  t.equal(await pushCache(served, misnamed), 201)
  t.match(await verifiedOf(served, [`${name}:main`], 'digest'), [{ complete: true, manifests: 1, blobs: 4 }])
})

test('Local: a damaged or missing blob of an index is named as one', async t => {
  const served = await serve(t)
  const cache = makeBuildCache()
  t.equal(await pushCache(served, cache), 201)
  const [damaged, missing] = cache.blobs.map(each => digestOf(each)) as [string, string]
  await truncate(dataPath(served.root, damaged), 9)
  await served.stop()
  const again = await serve(t, { root: served.root })
  await rm(layerPath(again.root, name, missing))
  t.match(await verifiedOf(again, [`${name}:main`]), [
    {
      complete: false,
      lacks: [
        { kind: 'blob', digest: damaged, state: 'damaged' },
        { kind: 'blob', digest: missing, state: 'missing' }
      ]
    }
  ])
  t.match(
    (await run(again, '/upkeep/scrub', {})).filter(each => each.type === 'warning'),
    [{ kind: 'blob', digest: missing }]
  )
})

test('Proxy: a prefetch fetches the blobs that an index lists, also for one platform, and Local serves and keeps them', async t => {
  const upstream = await startUpstream(t)
  const cache = makeBuildCache()
  const there = `${prefix.there}/cache`
  for (const each of cache.blobs) upstream.addBlob(there, each)
  upstream.addManifest(there, cache.index, { tag: 'main', mediaType: cache.mediaType })
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  const here = `${prefix.here}/cache`
  const reference = `registry.test:5001/${here}:main`
  const explained = async (state: string) => {
    const { works, cause, manifests } = await whyOf(served, reference)
    const blobs = cache.blobs.map(each => ({ digest: digestOf(each), size: each.length, state }))
    t.match({ works, cause, manifests }, { works: true, cause: 'none', manifests: [{ digest: cache.digest, blobs }] })
  }
  await explained('upstream')
  const options = { references: [reference], platforms: ['linux/amd64'], atOnce: 2 }
  t.match(await run(served, '/upkeep/prefetch', options), [
    { type: 'reference', result: 'fetched', manifests: 1, blobs: 4 },
    { type: 'progress' },
    { failed: 0 }
  ])
  await explained('here')
  for (const each of cache.blobs) t.equal(upstream.count(`/manifests/${digestOf(each)}`), 0, 'no blob was asked for as a manifest')
  await upstream.stop()
  await served.change({ registry: { mode: 'Local' } })
  await isPullable(t, served, here, cache)
  t.match(await verifiedOf(served, [reference], 'digest'), [{ complete: true, blobs: 4 }])
})
