import { existsSync } from 'node:fs'
import { test } from 'tap'
import { indexType } from '../../support/upstream.ts'
import { ask, bytesOf, filesBelow, imageOf, layerPath, pushBlob, pushImage, putManifest, until } from '../support.ts'
import { host, inFront, own, path, serveWith, whyOf } from './scene.ts'

const reference = `${host}/${own}:v1`

for (const mode of ['Direct', 'Proxy'] as const) {
  test(`${mode}: an image that is upstream can be pulled, and every step is reported`, async t => {
    const { registry, upstream } = await inFront(t, { mode })
    const { digest, config, layer } = upstream.addImage(path, 'v1')
    const report = await whyOf(registry, reference)
    t.match(report, {
      works: true,
      cause: 'none',
      advice: /^A pull works/,
      route: { mode, name: own, upstreamName: path, upstream: `${new URL(upstream.url).host}/${path}` },
      upstream: { name: 'not needed', connection: 'yes', certificate: 'not needed', access: 'yes', found: 'yes', status: 200, digest },
      manifest: { digest, from: 'upstream' },
      manifests: [
        {
          blobs: [
            { digest: config, state: 'upstream', size: 64 },
            { digest: layer, state: 'upstream', size: 256 }
          ]
        }
      ]
    })
  })

  test(`${mode}: nothing is stored, linked or downloaded by asking why`, async t => {
    const { registry, upstream } = await inFront(t, { mode })
    const { manifest } = upstream.addImage(path, 'v1')
    const before = await filesBelow(registry.root)
    await whyOf(registry, reference)
    t.strictSame(await filesBelow(registry.root), before)
    t.equal(upstream.requests.filter(({ method, path: asked }) => method === 'GET' && asked.includes('/blobs/')).length, 0)
    t.equal(upstream.count(`GET /v2/${path}/manifests/`), 1, `one manifest of ${manifest.length} bytes`)
  })
}

test('Local: an image that was pushed can be pulled', async t => {
  const registry = await serveWith(t, {})
  const { digest } = await pushImage(registry, own, 'v1')
  const report = await whyOf(registry, `${own}:v1`)
  t.match(report, {
    works: true,
    cause: 'none',
    route: { mode: 'Local' },
    stored: { digest, origin: 'pushed' },
    manifest: { digest, from: 'store' }
  })
  t.notOk(report.upstream, 'no request is sent')
})

test('Local: a missing tag is reported with similar ones', async t => {
  const registry = await serveWith(t, {})
  await pushImage(registry, own, 'v1.70.1')
  t.match(await whyOf(registry, `${host}/${own}:v1.70.0`), {
    works: false,
    cause: 'tag-unknown',
    near: ['v1.70.1'],
    advice: /did you mean v1\.70\.1\? Otherwise push the image/
  })
})

test('Local: a repository to which nothing was pushed is named', async t => {
  const registry = await serveWith(t, {})
  t.match(await whyOf(registry, reference), {
    works: false,
    cause: 'repository-unknown',
    advice: /Nothing was ever pushed to system\/deckhouse/
  })
})

test('Local: a digest that is not there is named', async t => {
  const registry = await serveWith(t, {})
  await pushImage(registry, own, 'v1')
  t.match(await whyOf(registry, `${host}/${own}@sha256:${'0'.repeat(64)}`), {
    works: false,
    cause: 'manifest-unknown',
    advice: /push the image/
  })
})

for (const [text, advice] of [
  ['https://registry.test:5001/a:b', /scheme/],
  [`${host}/Upper:v1`, /upper-case/],
  [`${host}/a:-bad`, /not a tag/],
  [`${host}/a@sha256:12`, /not a digest/],
  [`${host}/`, /names no repository/]
] as const) {
  test(`a malformed reference is reported with its fault: ${text}`, async t => {
    const registry = await serveWith(t, {})
    t.match(await whyOf(registry, text), { works: false, cause: 'malformed-reference', advice })
  })
}

test('an unknown host is reported with the known ones, and no request is sent', async t => {
  const { registry, upstream } = await inFront(t)
  const report = await whyOf(registry, 'elsewhere.test/a:v1')
  t.match(report, {
    works: false,
    cause: 'unknown-host',
    advice: /use one of registry\.test:5001, or add the host under registry\.upstreams/
  })
  t.equal(upstream.requests.length, 0)
})

test('a name outside of server.path is named', async t => {
  const { registry, upstream } = await inFront(t)
  t.match(await whyOf(registry, `${host}/other/app:v1`), {
    works: false,
    cause: 'outside-path',
    advice: /other\/app is not below system\/deckhouse/
  })
  t.equal(upstream.requests.length, 0)
})

test('a host of registry.upstreams has the same name upstream, and another one in the storage', async t => {
  const { registry, upstream } = await inFront(t)
  const further = await serveWith(t, {
    registry: { upstreams: { 'hub.test': { scheme: 'HTTP', endpoints: [new URL(upstream.url).host] } } }
  })
  upstream.addImage('library/app', 'v1')
  t.match(await whyOf(further, 'hub.test/library/app:v1'), {
    works: true,
    route: { mode: 'Proxy', storedAs: 'upstreams/hub.test/library/app', upstreamName: 'library/app' }
  })
  t.match(await whyOf(registry, 'hub.test/library/app:v1'), { cause: 'unknown-host' })
})

test('Proxy: while upstream is away a cached image can be pulled, and the sentence says so and names the cause', async t => {
  const { registry, upstream } = await inFront(t)
  const image = upstream.addImage(path, 'v1')
  for (const each of ['manifests/v1', `blobs/${image.config}`, `blobs/${image.layer}`])
    await ask(registry.listen, 'GET', `/v2/${own}/${each}`)
  await until(() => [image.config, image.layer].every(each => existsSync(layerPath(registry.root, own, each))))
  await upstream.stop()
  const report = await whyOf(registry, reference)
  t.match(report, {
    works: true,
    cause: 'connection-refused',
    advice: /^A pull works from what is stored here, but 127/,
    manifest: { from: 'store, as the last known' },
    stored: { digest: image.digest, fresh: 'no', age: Number }
  })
  t.equal((await ask(registry.listen, 'GET', `/v2/${own}/manifests/v1`)).status, 200, 'and that is true')
})

test('Proxy: a refusal upstream fails a pull even of a cached tag, and why says so', async t => {
  const { registry, upstream } = await inFront(t)
  const image = upstream.addImage(path, 'v1')
  for (const each of ['manifests/v1', `blobs/${image.config}`, `blobs/${image.layer}`])
    await ask(registry.listen, 'GET', `/v2/${own}/${each}`)
  upstream.faults.statuses.push({ status: 403 })
  t.match(await whyOf(registry, reference), { works: false, cause: 'denied', stored: { digest: image.digest } })
  t.equal((await ask(registry.listen, 'GET', `/v2/${own}/manifests/v1`)).status, 403, 'and that is true')
})

test('an index: each platform has its manifest, and one that other nodes need does not fail the pull', async t => {
  const { registry, upstream } = await inFront(t)
  const platform = (architecture: string) => ({ os: 'linux', architecture })
  const [mine, other] = process.arch === 'x64' ? ['amd64', 'arm64'] : ['arm64', 'amd64']
  const whole = upstream.addImage(path, 'whole')
  const broken = upstream.addImage(path, 'broken')
  upstream.content.blobs.get(path)?.delete(broken.layer)
  const manifests = [
    { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: whole.digest, size: whole.size, platform: platform(mine) },
    { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: broken.digest, size: broken.size, platform: platform(other) }
  ]
  upstream.addManifest(path, JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }), { tag: 'v1', mediaType: indexType })
  t.match(await whyOf(registry, reference), {
    works: true,
    cause: 'blob-unknown',
    manifests: [
      { platform: `linux/${mine}`, state: 'upstream', blobs: [{ state: 'upstream' }, { state: 'upstream' }] },
      { platform: `linux/${other}`, blobs: [{ state: 'upstream' }, { state: 'missing' }] }
    ]
  })
})

test('a blob that several manifests share is inspected once', async t => {
  const { registry, upstream } = await inFront(t, { mode: 'Direct' })
  const blob = { mediaType: 'application/octet-stream', digest: upstream.addBlob(path, bytesOf(10)), size: 10 }
  const image = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config: blob, layers: [blob, blob] }
  upstream.addManifest(path, JSON.stringify(image), { tag: 'v1' })
  t.match(await whyOf(registry, reference), { works: true })
  t.equal(upstream.count(`HEAD /v2/${path}/blobs/`), 1)
})

test('layers that registries need not hold are not missed', async t => {
  const registry = await serveWith(t, {})
  const config = bytesOf(10)
  await pushBlob(registry, own, config)
  const foreign = {
    mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
    digest: `sha256:${'a'.repeat(64)}`,
    size: 7,
    urls: ['http://a.test/']
  }
  t.equal((await putManifest(registry, own, 'v1', imageOf([config], { layers: [foreign] }))).status, 201)
  t.match(await whyOf(registry, reference), { works: true, cause: 'none' })
})
