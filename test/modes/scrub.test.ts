import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import { streamControl } from '../../src/ports/control-client.ts'
import { ask, bytesOf, dataPath, digestOf, metric, openFiles, pushBlob, pushImage, type Served, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { behind, blobBehind, prefix, serveModes, storedFills } from './scene.ts'

/** Changes one byte of a file in its place, as a disk would. */
function flip(root: string, digest: string): void {
  const bytes = readFileSync(dataPath(root, digest))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(dataPath(root, digest), bytes)
}

const cut = (root: string, digest: string) => truncateSync(dataPath(root, digest), readFileSync(dataPath(root, digest)).length - 1)

async function scrubbed({ config }: Served): Promise<Record<string, unknown>[]> {
  const call = { method: 'POST', path: '/upkeep/scrub', body: {}, idleTimeoutMs: 0 } as const
  const events = (await Array.fromAsync(streamControl(config.server.control, call))) as Record<string, unknown>[]
  return events.filter(each => each['type'] === 'damaged' || each['type'] === 'failed')
}

test('Local: a flipped byte and a lost end are 404, in metrics, log and status after a scrub, never wrong bytes, and heal by a push', async t => {
  const registry = await serveModes(t, {})
  const [one, two] = [bytesOf(300_000), bytesOf(200_000)]
  for (const each of [one, two]) await pushBlob(registry, 'a', each)
  const [flipped, shortened] = [digestOf(one), digestOf(two)]
  flip(registry.root, flipped)
  cut(registry.root, shortened)
  const found = await scrubbed(registry)
  t.strictSame(new Set(found.map(each => each['digest'])), new Set([flipped, shortened]))
  for (const digest of [flipped, shortened]) {
    for (const method of ['GET', 'HEAD']) t.equal((await ask(registry.listen, method, `/v2/a/blobs/${digest}`)).status, 404)
    t.equal((await ask(registry.listen, 'GET', `/v2/a/blobs/${digest}`, { headers: { range: 'bytes=0-9' } })).status, 404)
  }
  t.equal(await metric(registry, 'registry_damaged_blobs'), 2)
  t.equal(await metric(registry, 'registry_quarantine_bytes'), 499_999)
  const lines = registry.logged('stored content is damaged').filter(line => line['action'] === 'quarantined')
  t.equal(lines.length, 2)
  for (const line of lines) t.match(line, { names: ['a'], level: 50 })
  t.match(await registry.status(), { scrub: { damaged: 2, damages: [{ reason: /bytes of sha256/ }, {}], last: { damaged: 2 } } })
  for (const bytes of [one, two]) {
    const digest = await pushBlob(registry, 'a', bytes)
    t.ok((await ask(registry.listen, 'GET', `/v2/a/blobs/${digest}`)).body.equals(bytes))
  }
  t.equal(await metric(registry, 'registry_damaged_blobs'), 0)
  t.equal(await metric(registry, 'registry_quarantine_bytes'), 0)
  t.equal(registry.logged('damaged content was healed').length, 2)
  t.strictSame(await scrubbed(registry), [])
})

test('Local: a manifest that is damaged is 404 although it was in memory, and a push heals it', async t => {
  const registry = await serveModes(t, {})
  const { manifest, digest } = await pushImage(registry, 'a', 'v1')
  t.equal((await ask(registry.listen, 'GET', '/v2/a/manifests/v1')).status, 200)
  flip(registry.root, digest)
  t.match(await scrubbed(registry), [{ kind: 'manifest', digest, names: ['a'], action: 'quarantined' }])
  t.equal((await ask(registry.listen, 'GET', '/v2/a/manifests/v1')).status, 404)
  const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }
  t.equal((await ask(registry.listen, 'PUT', '/v2/a/manifests/v1', { headers, body: manifest })).status, 201)
  t.equal((await ask(registry.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), manifest)
})

test('Local: what is damaged is still known after a restart', async t => {
  const registry = await serveModes(t, {})
  const digest = await pushBlob(registry, 'a', bytesOf(1_000))
  flip(registry.root, digest)
  await scrubbed(registry)
  // The second one has the first one's root, which goes away with the first.
  await registry.stop()
  const again = await serveModes(t, {}, registry.root)
  t.equal(await metric(again, 'registry_damaged_blobs'), 1)
  t.equal((await ask(again.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 404)
})

test('Proxy: damaged blobs are fetched anew by themselves, and the next pull has the right bytes', async t => {
  const upstream = await startUpstream(t)
  const registry = await serveModes(t, { registry: behind('Proxy', upstream) })
  const [one, two] = [blobBehind(upstream, 300_000), blobBehind(upstream, 200_000)]
  for (const each of [one, two]) await ask(registry.listen, 'GET', each.path)
  await storedFills(registry, 2)
  flip(registry.root, one.digest)
  cut(registry.root, two.digest)
  t.equal((await scrubbed(registry)).length, 2)
  for (const each of [one, two]) t.ok((await ask(registry.listen, 'GET', each.path)).body.equals(each.bytes))
  await until(async () => (await metric(registry, 'registry_damaged_blobs')) === 0)
  await storedFills(registry, 4)
  for (const each of [one, two]) t.ok(readFileSync(dataPath(registry.root, each.digest)).equals(each.bytes))
  t.strictSame(await openFiles(`${registry.root}/docker`), [])
})

test('Proxy: while the upstream is away damaged content is missing, and heals with the next pull', async t => {
  const upstream = await startUpstream(t)
  const registry = await serveModes(t, { registry: behind('Proxy', upstream) })
  const blob = blobBehind(upstream, 100_000)
  const { digest } = upstream.addImage(`${prefix.there}/app`, 'v1')
  await ask(registry.listen, 'GET', blob.path)
  const manifest = `/v2/${prefix.here}/app/manifests/${digest}`
  await ask(registry.listen, 'GET', manifest)
  await storedFills(registry, 1)
  flip(registry.root, blob.digest)
  flip(registry.root, digest)
  await upstream.stop()
  t.equal((await scrubbed(registry)).length, 2)
  await until(() => registry.logged('damaged content could not be fetched again; the next pull retries').length === 2)
  for (const path of [blob.path, manifest]) t.ok((await ask(registry.listen, 'GET', path)).status >= 500)
  await upstream.start()
  t.ok((await ask(registry.listen, 'GET', blob.path)).body.equals(blob.bytes))
  t.equal(digestOf((await ask(registry.listen, 'GET', manifest)).body), digest)
  await until(async () => (await metric(registry, 'registry_damaged_blobs')) === 0)
})

test('the check in the background finds damage by itself, tells where it stands, and begins again', async t => {
  const registry = await serveModes(t, { scrub: { every: '1s' } })
  const digest = await pushBlob(registry, 'a', bytesOf(1_000))
  await until(async () => Number(await metric(registry, 'registry_scrub_last_complete_timestamp_seconds')) > 0)
  flip(registry.root, digest)
  await until(async () => (await metric(registry, 'registry_damaged_blobs')) === 1)
  await until(async () => (await metric(registry, 'registry_scrub_findings')) === 1)
  t.match(await registry.status(), { scrub: { damaged: 1, last: { began: /^2/, ended: /^2/ } } })
})
