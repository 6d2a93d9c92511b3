import { existsSync } from 'node:fs'
import { test } from 'tap'
import { streamControl } from '../../../src/ports/control-client.ts'
import { indexType, manifestType } from '../../support/upstream.ts'
import { ask, bytesOf, dataPath, metric, pushImage, type Served, until } from '../support.ts'
import { host, inFront, own, path, serveWith } from '../why/scene.ts'

type Event = Record<string, unknown> & { type: string }

/** The events of a prefetch, without progress. */
async function prefetched({ config }: Served, references: string[], { platforms = [] as string[], atOnce = 4 } = {}): Promise<Event[]> {
  const call = { method: 'POST', path: '/upkeep/prefetch', body: { references, platforms, atOnce }, idleTimeoutMs: 0 } as const
  const events = (await Array.fromAsync(streamControl(config.server.control, call))) as Event[]
  return events.filter(each => each.type !== 'progress')
}

test('prefetch: fetched content is served while the upstream is away, and a second run downloads nothing', async t => {
  const { registry, upstream } = await inFront(t, { more: { cache: { tagTTL: '1h' } } })
  const { digest, config, layer } = upstream.addImage(path, 'v1', { layer: bytesOf(300_000) })
  const reference = `${host}/${own}:v1`
  t.match(await prefetched(registry, [reference]), [
    { type: 'reference', reference, result: 'fetched', digest, manifests: 1, blobs: 2, fetched: 2, bytes: 300_064 },
    { type: 'done', references: 1, failed: 0 }
  ])
  t.match(await prefetched(registry, [reference]), [{ result: 'here', fetched: 0, blobs: 2 }, { failed: 0 }])
  t.equal(upstream.count('GET /v2/deckhouse/ee/blobs/'), 2)
  await upstream.stop()
  for (const each of [`manifests/v1`, `blobs/${config}`, `blobs/${layer}`])
    t.equal((await ask(registry.listen, 'GET', `/v2/${own}/${each}`)).status, 200)
})

test('prefetch: of an index all platforms, or the named ones', async t => {
  const { registry, upstream } = await inFront(t)
  const images = ['amd64', 'arm64', 's390x'].map(architecture => ({ architecture, ...upstream.addImage(path, architecture) }))
  const manifests = images.map(({ digest, size, architecture }) => ({
    mediaType: manifestType,
    digest,
    size,
    platform: { os: 'linux', architecture, ...(architecture === 'arm64' ? { variant: 'v8' } : {}) }
  }))
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests })
  upstream.addManifest(path, index, { tag: 'v1', mediaType: indexType })
  t.match(await prefetched(registry, [`${own}:v1`], { platforms: ['linux/arm64'] }), [{ result: 'fetched', manifests: 2, blobs: 2 }, {}])
  t.ok(existsSync(dataPath(registry.root, images[1]?.layer ?? '')))
  t.notOk(existsSync(dataPath(registry.root, images[0]?.layer ?? '')))
  t.match(await prefetched(registry, [`${own}:v1`]), [{ result: 'fetched', manifests: 4, blobs: 6, fetched: 4 }, {}])
})

test('prefetch: each failed reference has its reason, and the others are fetched', async t => {
  const { registry, upstream } = await inFront(t)
  upstream.addImage(path, 'v1')
  const events = await prefetched(registry, [`${own}:none`, 'Not A Reference', 'elsewhere.test/a:v1', `${own}:v1`, 'outside/of/path:v1'])
  const byName = new Map(events.map(each => [each['reference'], each]))
  t.match(byName.get(`${own}:none`), { result: 'failed', reason: /unknown/ })
  t.match(byName.get('Not A Reference'), { result: 'failed', reason: /upper-case/ })
  t.match(byName.get('elsewhere.test/a:v1'), { result: 'failed', reason: /does not serve that host/ })
  t.match(byName.get('outside/of/path:v1'), { result: 'failed' })
  t.match(byName.get(`${own}:v1`), { result: 'fetched' })
  t.match(events.at(-1), { references: 5, failed: 4 })
})

test('prefetch: wrong bytes from the upstream are a failure, and nothing of them is stored', async t => {
  const { registry, upstream } = await inFront(t)
  const { layer } = upstream.addImage(path, 'v1', { layer: bytesOf(50_000) })
  upstream.faults.wrongByte = 20_000
  t.match(await prefetched(registry, [`${own}:v1`]), [
    { result: 'failed', reason: /download failed|no longer|wrong|digest/ },
    { failed: 1 }
  ])
  t.notOk(existsSync(dataPath(registry.root, layer)))
  upstream.faults.wrongByte = undefined
  t.match(await prefetched(registry, [`${own}:v1`]), [{ result: 'fetched' }, { failed: 0 }])
})

test('prefetch: interrupted, its downloads end by themselves, and another one fetches the rest', async t => {
  const { registry, upstream } = await inFront(t)
  const images = Array.from({ length: 6 }, (_, at) => upstream.addImage(path, `v${at}`, { layer: bytesOf(100_000) }))
  const references = images.map((_, at) => `${own}:v${at}`)
  const left = new AbortController()
  const body = { references, platforms: [], atOnce: 1 }
  const call = { method: 'POST', path: '/upkeep/prefetch', body, idleTimeoutMs: 0, signal: left.signal } as const
  await t.rejects(async () => {
    for await (const event of streamControl(registry.config.server.control, call)) if ((event as Event).type === 'reference') left.abort()
  })
  await until(async () => (await metric(registry, 'registry_fills_running')) === 0)
  t.match((await prefetched(registry, references)).at(-1), { references: 6, failed: 0 })
  for (const { layer } of images) t.equal(upstream.count(`GET /v2/${path}/blobs/${layer}`), 1, 'each was downloaded once')
})

test('prefetch: in Local and in Direct it reports that nothing can be fetched', async t => {
  const local = await serveWith(t, {})
  await pushImage(local, own, 'v1')
  t.match(await prefetched(local, [`${own}:v1`]), [{ result: 'failed', reason: /mode is Local/ }, { failed: 1 }])
  const { registry } = await inFront(t, { mode: 'Direct' })
  t.match(await prefetched(registry, [`${own}:v1`]), [{ result: 'failed', reason: /passed through, and not stored/ }, { failed: 1 }])
})
