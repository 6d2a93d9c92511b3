// Report: a push that lost an image ended with exit code 0; a second push sent everything again.
import { randomBytes } from 'node:crypto'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Bundle } from '../../../src/bundle/bundle.ts'
import { diffBundle } from '../../../src/bundle/diff.ts'
import { planOf } from '../../../src/bundle/plan.ts'
import { type PushEvent, type PushOptions, pushBundle } from '../../../src/bundle/push/push.ts'
import { nameBelow } from '../../../src/bundle/source.ts'
import { parseName } from '../../../src/oci/name.ts'
import { BundleMaker, digestOf, type MadeImage, writeArchive } from '../../support/bundle.ts'
import { type PushProxy, startPushProxy } from '../../support/push-proxy.ts'
import { ask, dataPath, folder, type Served, serve } from '../support.ts'
import { clientOf, never } from '../upstream/ask.ts'
import { madeBundle } from './scene.ts'

const prefix = parseName('system/deckhouse')

const patientLimits = { connections: 8, connectTimeout: 120_000, headerTimeout: 120_000, bodyTimeout: 120_000 }

interface PushScene {
  target: Served
  proxy: PushProxy
  push(place: string | readonly string[], options?: Partial<PushOptions>): Promise<PushEvent[]>
  last(events: readonly PushEvent[]): Extract<PushEvent, { type: 'done' }>
  /** The digest that a tag names at the target; undefined for none. */
  tagged(path: string, tag: string): Promise<string | undefined>
}

async function scene(t: Test, given: Parameters<typeof serve>[1] = {}): Promise<PushScene> {
  const target = await serve(t, given)
  const proxy = await startPushProxy(t, target.listen)
  // A busy machine is no reason for a second request.
  const registry = clientOf(t, [proxy], { limits: patientLimits }).upstream
  return {
    target,
    proxy,
    push: async (place, options = {}) => {
      const bundle = await Bundle.open({ paths: [place].flat(), signal: never() })
      t.teardown(() => bundle[Symbol.asyncDispose]())
      const plan = await planOf(bundle, never())
      const to = { registry, nameOf: (path: string) => nameBelow(prefix, path) }
      const all = { atOnce: 4, patienceMs: 60_000, onFailure: 'stop' as const, signal: never(), ...options }
      return (await Array.fromAsync(pushBundle(bundle, plan, to, all))).filter(each => each.type !== 'progress')
    },
    last: events => {
      const done = events.at(-1)
      if (done?.type !== 'done') throw new Error(`the last event is ${JSON.stringify(done)}`)
      return done
    },
    tagged: async (path, tag) => {
      const { status, headers } = await ask(target.listen, 'HEAD', `/v2/${nameBelow(prefix, path)}/manifests/${tag}`, {
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' }
      })
      return status === 200 ? `${headers['docker-content-digest']}` : undefined
    }
  }
}

async function everythingIsThere(t: Test, { target, tagged }: PushScene, images: readonly MadeImage[]): Promise<void> {
  for (const { path, tag, digest, blobs } of images) {
    t.equal(await tagged(path, tag), digest, `${path}:${tag}`)
    for (const each of blobs) {
      const { status, body } = await ask(target.listen, 'GET', `/v2/${nameBelow(prefix, path)}/blobs/${digestOf(each)}`)
      t.ok(status === 200 && body.equals(each), `a blob of ${path}:${tag}`)
    }
  }
}

const bodies = (proxy: PushProxy) => proxy.requests.filter(each => each.bytes > 0 && each.path.includes('/blobs/uploads/'))

test('push: every image arrives, a blob that two repositories share is sent once and mounted, and discovery tags are set', async t => {
  const { place, maker } = await madeBundle(t)
  const the = await scene(t)
  const { push, last, tagged, proxy } = the
  const events = await push(place)
  t.match(last(events), { images: 7, pushed: 7, present: 0, failed: 0, missing: 0, untried: 0, mountedBlobs: 1 })
  t.equal(events.filter(each => each.type === 'image' && each.result === 'pushed').length, 7)
  await everythingIsThere(t, the, maker.images)
  t.ok(await tagged('modules', 'console'))
  const distinct = new Set(maker.images.flatMap(each => each.blobs.map(digestOf)))
  t.equal(last(events).sentBlobs, distinct.size)
  t.equal(bodies(proxy).length, distinct.size + 2, 'and the two blobs of the discovery tag')
  t.equal(proxy.requests.filter(each => each.path.includes('mount=')).length, 1)
})

test('push: a second one sends nothing, and asks for no blob of a repository twice', async t => {
  const { place } = await madeBundle(t)
  const { push, last, proxy } = await scene(t)
  await push(place)
  proxy.requests.length = 0
  const events = await push(place)
  t.match(last(events), { images: 7, pushed: 0, present: 7, sentBlobs: 0, sentBytes: 0, mountedBlobs: 0 })
  t.equal(bodies(proxy).length, 0)
  const asked = proxy.requests.filter(each => each.method === 'HEAD').map(each => each.path)
  t.equal(new Set(asked).size, asked.length)
  t.same(
    proxy.requests
      .filter(each => each.method !== 'HEAD')
      .map(each => each.method)
      .sort(),
    // The lists of tags; a session that shows that pushes are taken, and its end.
    ['DELETE', ...Array(7).fill('GET'), 'POST']
  )
})

test('push: a repository of many tags is asked for them by pages, and for none of them one by one', async t => {
  const { place } = await madeBundle(t)
  const { push, proxy, target } = await scene(t)
  await push(place)
  const image = (await ask(target.listen, 'GET', `/v2/${prefix}/manifests/v1.70.0`)).body
  for (let at = 0; at < 40; at++) {
    const { status } = await ask(target.listen, 'PUT', `/v2/${prefix}/manifests/other-${at}`, {
      body: image,
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }
    })
    if (status !== 201) throw new Error(`${status}`)
  }
  proxy.requests.length = 0
  await push(place)
  const about = proxy.requests.filter(
    each => each.path.startsWith(`/v2/${prefix}/tags/`) || each.path.startsWith(`/v2/${prefix}/manifests/`)
  )
  t.equal(about.filter(each => each.path.includes('/tags/list')).length, 1)
  t.equal(about.length, 2, 'the list, and the one tag of the bundle')
})

test('push: broken off and begun again, it sends only what is missing, also where another repository has the blob', async t => {
  const { place, maker } = await madeBundle(t)
  const the = await scene(t)
  const { push, last, proxy } = the
  const broken = new AbortController()
  // The shared layer lies in `install` alone then.
  const firstPlace = folder(t)
  await writeArchive(join(firstPlace, 'platform.tar'), maker.entries(['install']))
  await push(firstPlace)
  proxy.faults.status = { status: 200, times: 0, when: () => false }
  const cut = push(place, { signal: broken.signal, atOnce: 1 })
  broken.abort(new Error('interrupted'))
  await t.rejects(cut, /interrupted/)
  proxy.requests.length = 0
  t.match(last(await push(place)), { failed: 0, untried: 0 })
  const shared = digestOf(maker.images.find(each => each.path === 'install')?.blobs[1] ?? Buffer.alloc(0))
  t.notOk(bodies(proxy).some(each => each.path.includes(encodeURIComponent(shared))))
  await everythingIsThere(t, the, maker.images)
})

test('push: connections that break, lost answers and 503 cost no image, and no wrong byte arrives', async t => {
  const { place, maker } = await madeBundle(t)
  const the = await scene(t)
  const { push, last, proxy } = the
  proxy.faults.cutAt = [1000, 30_000]
  proxy.faults.lost = { method: 'PUT', times: 1, path: /blobs/ }
  proxy.faults.status = { status: 503, times: 2, when: each => each.method === 'PATCH' || each.method === 'POST' }
  t.match(last(await push(place)), { pushed: 7, failed: 0 })
  await everythingIsThere(t, the, maker.images)
})

test('push: 429 with Retry-After is waited for, and is no failure', async t => {
  const { place } = await madeBundle(t)
  const { push, last, proxy } = await scene(t)
  proxy.faults.status = { status: 429, times: 2, when: each => each.method === 'POST', headers: { 'retry-after': '1' } }
  const events = await push(place)
  t.match(last(events), { pushed: 7, failed: 0 })
})

test('push: a target that is stopped during the push and started again later is waited for, and the push goes on', async t => {
  const { place } = await madeBundle(t)
  const root = join(folder(t), 'root')
  const first = await serve(t, { root })
  const registry = clientOf(t, [{ url: `http://${first.listen}` }], { limits: patientLimits }).upstream
  const bundle = await Bundle.open({ paths: [place], signal: never() })
  t.teardown(() => bundle[Symbol.asyncDispose]())
  const options = { atOnce: 1, patienceMs: 300_000, onFailure: 'stop' as const, signal: never() }
  const to = { registry, nameOf: (path: string) => nameBelow(prefix, path) }
  let state: 'up' | 'gone' | 'back' = 'up'
  let last: PushEvent | undefined
  for await (const event of pushBundle(bundle, await planOf(bundle, never()), to, options)) {
    last = event
    if (event.type === 'image' && state === 'up') {
      await first.stop()
      state = 'gone'
    } else if (event.type === 'waiting' && state === 'gone') {
      await serve(t, { root, server: { listen: first.listen } })
      state = 'back'
    }
  }
  t.equal(state, 'back')
  t.match(last, { type: 'done', pushed: 7, failed: 0, untried: 0 })
})

test('push: a target that does not come back ends the patience, and the reason names what was asked for', async t => {
  const { place } = await madeBundle(t)
  const { push, proxy } = await scene(t)
  proxy.faults.status = { status: 503, times: 1000, when: () => true }
  await t.rejects(push(place, { patienceMs: 1 }), /POST \/v2\/system\/deckhouse\/?[a-z/]*blobs\/uploads\/ answered 503/)
})

test('push: a target that refuses all pushes is told of before anything is sent', async t => {
  const { place } = await madeBundle(t)
  const { push, proxy } = await scene(t, { auth: { anonymous: ['pull'] } })
  await t.rejects(push(place), /answered 401|answered 403/)
  t.equal(proxy.requests.length, 1)
})

test('push: a blob with a flipped bit is not published, its image fails with the reason, and the others arrive where wanted', async t => {
  const { place, maker } = await madeBundle(t)
  const { push, last, tagged, target } = await scene(t)
  const file = join(place, 'security.tar')
  const image = maker.images.find(each => each.path === 'security/trivy-db')
  const blob = image?.blobs[2] ?? Buffer.alloc(0)
  const bytes = readFileSync(file)
  const at = bytes.indexOf(blob) + 60_000
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(file, bytes)
  const events = await push(place, { onFailure: 'go on' })
  t.match(last(events), { pushed: 6, failed: 1, untried: 0 })
  t.match(
    events.find(each => each.type === 'image' && each.result === 'failed'),
    {
      image: 'security/trivy-db:2',
      reason: new RegExp(`security\\.tar.*blobs/sha256/${digestOf(blob).slice(7)} at byte \\d+: its bytes are those of sha256`)
    }
  )
  t.equal(await tagged('security/trivy-db', '2'), undefined)
  t.throws(() => readFileSync(dataPath(target.root, digestOf(blob))))
  const stopped = last(await push(place))
  t.match(stopped, { failed: 1 })
})

test('push: of a cut archive what is sound arrives where that is wanted, and nothing else', async t => {
  const { place, maker } = await madeBundle(t)
  const the = await scene(t)
  const { push, last } = the
  truncateSync(join(place, 'module-console.tar'), 90_000)
  const events = await push(place, { onFailure: 'go on' })
  t.equal(last(events).untried, 0)
  await everythingIsThere(
    t,
    the,
    maker.images.filter(each => !each.path.startsWith('modules/'))
  )
})

test('push: what a delta lacks is taken from the target, or told by digest before anything is sent', async t => {
  const place = folder(t)
  const maker = new BundleMaker()
  const [base, added] = [randomBytes(5000), randomBytes(6000)]
  maker.addImage('', 'v1', { layers: [base] })
  const basePlace = folder(t)
  await writeArchive(join(basePlace, 'platform.tar'), maker.entries())
  maker.addImage('', 'v2', { layers: [base, added] })
  maker.layout('').blobs.delete(digestOf(base).replace(':', '/'))
  await writeArchive(join(place, 'platform.tar'), maker.entries())
  const empty = await scene(t)
  const events = await empty.push(place)
  t.match(events, [
    { type: 'missing', digest: digestOf(base), size: 5000, images: ['.:v1', '.:v2'] },
    { type: 'done', missing: 1, untried: 2, pushed: 0 }
  ])
  t.equal(bodies(empty.proxy).length, 0)
  const filled = await scene(t)
  await filled.push(basePlace)
  t.match(filled.last(await filled.push(place)), { pushed: 1, present: 1, missing: 0, sentBlobs: 2 })
  await everythingIsThere(t, filled, maker.images)
  const both = await scene(t)
  t.match(both.last(await both.push([basePlace, place])), { missing: 0, failed: 0 })
})

test('push: a manifest with a subject is a referrer of it at the target', async t => {
  const place = folder(t)
  const maker = new BundleMaker()
  const image = maker.addImage('', 'v1')
  const signature = maker.addImage('', `sha256-${image.digest.slice(7)}.sig`, { subject: image })
  await writeArchive(join(place, 'platform.tar'), maker.entries())
  const { push, last, target } = await scene(t)
  t.match(last(await push(place)), { pushed: 2 })
  const { body } = await ask(target.listen, 'GET', `/v2/${prefix}/referrers/${image.digest}`)
  t.match(JSON.parse(body.toString()).manifests, [{ digest: signature.digest, artifactType: 'application/vnd.test.signature' }])
})

test('push: who no longer reads the events ends it', async t => {
  const { place } = await madeBundle(t)
  const { proxy } = await scene(t)
  const registry = clientOf(t, [proxy]).upstream
  const bundle = await Bundle.open({ paths: [place], signal: never() })
  t.teardown(() => bundle[Symbol.asyncDispose]())
  const options = { atOnce: 1, patienceMs: 1000, onFailure: 'stop' as const, signal: never() }
  for await (const event of pushBundle(
    bundle,
    await planOf(bundle, never()),
    { registry, nameOf: path => nameBelow(prefix, path) },
    options
  ))
    if (event.type === 'image') break
  const after = proxy.requests.length
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
  t.equal(proxy.requests.length, after)
})

test('diff: what a push would add, what is another image there, and what is only there', async t => {
  const { place, maker } = await madeBundle(t)
  const { push, target, proxy } = await scene(t)
  const registry = clientOf(t, [proxy]).upstream
  const bundle = await Bundle.open({ paths: [place], signal: never() })
  t.teardown(() => bundle[Symbol.asyncDispose]())
  const plan = await planOf(bundle, never())
  const diff = () => Array.fromAsync(diffBundle(plan, registry, { nameOf: path => nameBelow(prefix, path), atOnce: 3, signal: never() }))
  const distinct = new Map(maker.images.flatMap(each => each.blobs.map(blob => [digestOf(blob), blob.length])))
  const bytes = [...distinct.values()].reduce((sum, each) => sum + each, 0)
  t.match((await diff()).at(-1), { type: 'done', images: 6, same: 0, new: 6, blobs: distinct.size, bytes })
  await push(place)
  t.match((await diff()).at(-1), { same: 6, new: 0, extra: 0, blobs: 0, bytes: 0 })
  const manifest = (await ask(target.listen, 'GET', `/v2/${prefix}/manifests/v1.70.0`)).body
  const put = { body: manifest, headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' } }
  await ask(target.listen, 'PUT', `/v2/${prefix}/manifests/only-there`, put)
  await ask(target.listen, 'DELETE', `/v2/${prefix}/install/manifests/v1.70.0`)
  const events = await diff()
  t.match(events.at(-1), { same: 5, new: 1, extra: 1, blobs: 0 })
  t.match(
    events.find(each => each.type === 'extra'),
    { image: '.:only-there' }
  )
})
