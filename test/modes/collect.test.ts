import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { streamControl } from '../../src/ports/control-client.ts'
import { Client, digestOf } from '../long/client.ts'
import { startCrowd } from '../long/crowd.ts'
import { pullImage, pushImage } from '../long/images.ts'
import { expect } from '../long/push.ts'
import { Random } from '../long/random.ts'
import { scale } from '../long/scale.ts'
import { startServer, temporaryFolder } from '../long/server.ts'
import { ask, metric, type Served, until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { behind, prefix, serveModes } from './scene.ts'

const old = new Date(Date.now() - 48 * 3_600_000)
const blobs = (root: string) => join(root, 'docker/registry/v2/blobs/sha256')

/** Makes everything below a directory look as if it had been there for two days. */
async function age(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await utimes(join(entry.parentPath, entry.name), old, old)
  }
}

/** Writes blobs that nothing needs, as a crash of somebody else would have left them. */
async function litter(root: string, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    const encoded = digestOf(Buffer.from(`litter ${at}`)).slice(7)
    const directory = join(blobs(root), encoded.slice(0, 2), encoded)
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, 'data'), `litter ${at}`)
    await utimes(join(directory, 'data'), old, old)
  }
}

// The directory goes with the last of them.
async function storedBlobs(root: string): Promise<number> {
  const found = await readdir(blobs(root), { recursive: true }).catch(() => [])
  return found.filter(each => each.endsWith('data')).length
}

/** Asks for the head of a blob now and then until `signal` says so; resolves to the 99th percentile in ms. */
async function headTimes(client: Client, name: string, digest: string, signal: AbortSignal): Promise<number> {
  const times: number[] = []
  while (!signal.aborted) {
    const began = performance.now()
    expect(200, 'a HEAD', await client.ask('HEAD', `/v2/${name}/blobs/${digest}`))
    times.push(performance.now() - began)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  times.sort((a, b) => a - b)
  return times[Math.floor(times.length * 0.99)] ?? 0
}

test(`Local: fifty clients pull and five push without a pause while ${scale.litter} blobs are collected and all is scrubbed, and none fails`, {
  timeout: 0
}, async t => {
  const server = await startServer(t, { folder: await temporaryFolder(t), sections: { gc: { grace: '1h' } } })
  const client = new Client(server.address, 1)
  t.teardown(() => client.close())
  const random = new Random(1)
  const images = [await pushImage(client, 'app', random), await pushImage(client, 'app', random)]
  await litter(server.root, scale.litter)
  await age(join(server.root, 'docker'))
  const crowd = await startCrowd(t, { address: server.address, name: 'app', images, pulling: 50, pushing: 5 })
  const head = images[0]?.parts[0] ?? ''
  const quiet = await headTimes(client, 'app', head, AbortSignal.timeout(scale.quiet))
  const ended = new AbortController()
  const { signal } = ended
  const busy = headTimes(client, 'app', head, signal)
  const control = join(server.root, '.registry/control.sock')
  const call = (path: string, body: object) => ({ method: 'POST', path, body, idleTimeoutMs: 0, signal }) as const
  const told: unknown[] = []
  const scrubbing = (async () => {
    // It gives way to clients that never rest, and is broken off with them.
    while (!signal.aborted) for await (const event of streamControl(control, call('/upkeep/scrub', {}))) told.push(event)
  })().catch(error => {
    if (!signal.aborted) throw error
  })
  const events = await Array.fromAsync(streamControl(control, call('/upkeep/gc', { dryRun: false })))
  ended.abort()
  await scrubbing
  const done = await crowd.stop()
  t.equal(done.failure, undefined)
  t.match(events.at(-1), { type: 'done', removed: { blob: scale.litter } })
  for (const image of done.images) await pullImage(client, 'app', image)
  const { ms } = events.at(-1) as { ms: number }
  const [before, meanwhile] = [quiet, await busy]
  t.comment(
    `99 of 100 HEADs took at most ${before.toFixed(1)} ms before, ${meanwhile.toFixed(1)} ms meanwhile (promised: the larger of 50 ms and twice as long)`
  )
  t.comment(
    `${done.pulls} pulls and ${done.pushes} pushes before and in the ${ms} ms of the collection, ${told.length} events of the scrub`
  )
  const admin = new Client(server.admin, 1)
  t.teardown(() => admin.close())
  const metrics = (await admin.ask('GET', '/metrics')).body.toString()
  t.match(metrics, new RegExp(`^registry_removed_objects_total\\{kind="blob",reason="unreferenced"\\} ${scale.litter}$`, 'm'))
  t.notMatch(metrics, /^registry_damaged_objects_total [^0]/m)
  t.strictSame(
    told.filter(each => (each as { type: string }).type === 'damaged'),
    []
  )
  t.ok(told.length > 0, 'something was scrubbed')
})

test('Local: it is collected on a schedule, and a restart does not begin anew', async t => {
  const root = join((await serveModes(t, {})).root, '..', 'other')
  const first = await serveModes(t, { gc: { every: '1s', grace: '0s' } }, root)
  await litter(first.root, 1)
  await until(async () => (await storedBlobs(first.root)) === 0)
  await until(async () => ((await metric(first, 'registry_gc_last_success_timestamp_seconds')) ?? 0) > 0)
  await first.stop()
  const second = await serveModes(t, { gc: { every: '24h' } }, root)
  t.ok(((await metric(second, 'registry_gc_last_success_timestamp_seconds')) ?? 0) > Date.now() / 1000 - 600)
})

test('Local: one collection at a time, and a dry run is one', async t => {
  const served = await serveModes(t, {})
  await litter(served.root, 3)
  const first = served.collect({ dryRun: true })[Symbol.asyncIterator]()
  await first.next()
  await t.rejects(Array.fromAsync(served.collect()), { name: 'GcRunningError' })
  await first.return?.()
  t.match((await Array.fromAsync(served.collect())).at(-1), { type: 'done', removed: { blob: 3 } })
})

/** A cache that holds an image which nobody asked for in two days. */
async function cacheWithOld(t: Test) {
  const upstream = await startUpstream(t)
  const image = upstream.addImage(`${prefix.there}/app`, 'v1')
  const root = join((await serveModes(t, {})).root, '..', 'cache')
  const first = await serveModes(t, { registry: behind('Proxy', upstream) }, root)
  for (const path of [`manifests/v1`, `blobs/${image.config}`, `blobs/${image.layer}`]) {
    await ask(first.listen, 'GET', `/v2/${prefix.here}/app/${path}`)
  }
  await until(async () => (await metric(first, 'registry_fills_total', '{result="stored"}')) === 2)
  await first.stop()
  await age(root)
  return { upstream, root, image, ttl: { registry: behind('Proxy', upstream, { ttl: '24h' }), gc: { grace: '0s' } } }
}

const removals = async (served: Served) => (await Array.fromAsync(served.collect())).filter(each => each.type === 'remove').length

test('Proxy: what nobody asked for expires, but not while upstream cannot be asked', async t => {
  const { upstream, root, ttl } = await cacheWithOld(t)
  for (const status of [503, 401]) {
    upstream.faults.statuses.push({ status })
    const served = await serveModes(t, ttl, root)
    t.equal(await removals(served), 0, `upstream answers ${status}`)
    await served.stop()
    upstream.faults.statuses.pop()
  }
  const served = await serveModes(t, ttl, root)
  t.ok((await removals(served)) > 0)
  t.equal(await storedBlobs(root), 0)
  t.equal(await metric(served, 'registry_cache_evictions_total', '{reason="expired",kind="blob"}'), 3)
  t.equal((await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)).status, 200, 'and is fetched again')
})

test('Proxy: a dry run tells what would expire and why, and changes nothing', async t => {
  const { root, ttl, image } = await cacheWithOld(t)
  const served = await serveModes(t, ttl, root)
  const told = (await Array.fromAsync(served.collect({ dryRun: true }))).filter(each => each.type === 'remove')
  t.equal(await storedBlobs(root), 3)
  t.equal(await metric(served, 'registry_cache_evictions_total', '{reason="expired",kind="blob"}'), undefined)
  t.match(
    told.find(each => each.kind === 'tag'),
    { tag: 'v1', digest: image.digest, reason: 'expired' }
  )
  const done = (await Array.fromAsync(served.collect())).filter(each => each.type === 'remove' && each.reason === 'expired')
  t.strictSame(
    told.filter(each => each.reason === 'expired'),
    done
  )
})

test('Proxy: what was asked for since does not expire, and what is pinned never does', async t => {
  const { root, ttl, image } = await cacheWithOld(t)
  const pins = join(root, 'pins')
  await writeFile(pins, `${prefix.here}/app:v1 # the platform\n`)
  const pinned = await serveModes(t, { ...ttl, cache: { pinFile: pins } }, root)
  t.equal(await removals(pinned), 0)
  await pinned.stop()
  const served = await serveModes(t, ttl, root)
  await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/${image.digest}`)
  t.equal(await removals(served), 0)
})

test('Proxy: while the file of pins is gone, what it named is kept, and a warning says so', async t => {
  const { root, ttl } = await cacheWithOld(t)
  const pins = join(root, 'pins')
  await writeFile(pins, `${prefix.here}/app:v1\n`)
  const served = await serveModes(t, { ...ttl, cache: { pinFile: pins } }, root)
  t.equal(await removals(served), 0)
  await rm(pins)
  t.equal(await removals(served), 0)
  t.equal(served.logged('the pin file cannot be read: its last patterns stay in force').length, 1)
  await writeFile(pins, '')
  t.ok((await removals(served)) > 0, 'what is no longer named goes')
})

test('Local and Direct: nothing that was cached expires, so that a switch back finds it', async t => {
  const { upstream, root, image } = await cacheWithOld(t)
  for (const registry of [{ mode: 'Local' }, behind('Direct', upstream)]) {
    const served = await serveModes(t, { registry, gc: { grace: '0s' } }, root)
    t.equal(await removals(served), 0)
    await served.stop()
  }
  const local = await serveModes(t, { registry: { mode: 'Local' } }, root)
  t.equal((await ask(local.listen, 'GET', `/v2/${prefix.here}/app/blobs/${image.layer}`)).status, 200)
})

test('a registry that stops ends a collection at once', async t => {
  const served = await serveModes(t, {})
  await litter(served.root, 2_000)
  const run = served.collect()[Symbol.asyncIterator]()
  await run.next()
  const ended = (async () => {
    for (let next = await run.next(); !next.done; next = await run.next());
  })()
  await Promise.all([t.rejects(ended, { message: 'the registry stops' }), served.stop()])
})
