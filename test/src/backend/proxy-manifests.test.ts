import { type Test, test } from 'tap'
import { type CachePolicy, ProxyManifests } from '../../../src/backend/proxy-manifests.ts'
import type { UpstreamRoute } from '../../../src/backend/routes.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { parseReference } from '../../../src/oci/name.ts'
import { imageOf, named, storeManifest, tagged } from '../../support/content.ts'
import { until } from '../support.ts'
import { clientOf } from '../upstream/ask.ts'
import { routeTo, type Scene, scene } from './scene.ts'

const usual: CachePolicy = { tagTTL: 60_000, onUpstreamNotFound: 'serve', negativeTTL: 0 }
const name = named('here/app')
const v1 = parseReference('v1')

interface Cache extends Scene {
  manifests: ProxyManifests
  /** Requests for manifests that upstream has seen. */
  asked(): number
  /** Another backend over the same store, as after a reload. */
  other(route: UpstreamRoute, policy?: Partial<CachePolicy>): ProxyManifests
}

async function cache(t: Test, policy: Partial<CachePolicy> = {}): Promise<Cache> {
  const made = await scene(t)
  const times = { now: () => made.clock.at, timeoutMs: 5_000 }
  const other = (route: UpstreamRoute, more: Partial<CachePolicy> = {}) =>
    new ProxyManifests(made.content, route, { ...usual, ...policy, ...more }, times)
  return { ...made, manifests: other(made.route), other, asked: () => made.server.count('/manifests/') }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (cause: unknown) => cause
  )
  return error instanceof OciError ? `${error.status} ${error.code}` : String(error)
}

/** What was asked for, once upstream has the question; it is answered when `answer` is called. */
async function held({ server, asked }: Cache, ask: () => Promise<unknown>): Promise<{ asking: Promise<unknown>; answer(): void }> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.faults.headerDelay = promise
  const before = asked()
  const asking = ask()
  await until(() => asked() > before)
  return { asking, answer: resolve }
}

test('a tag is a miss, then a hit without a request within tagTTL, with its age', async t => {
  const { server, manifests, asked, clock } = await cache(t)
  const image = server.addImage('there/app', 'v1')
  const first = await manifests.get(name, v1)
  t.strictSame([first.outcome, first.value.descriptor.digest], ['miss', image.digest])
  clock.at += 50_000
  const second = await manifests.get(name, v1)
  t.strictSame([second.outcome, second.age, asked()], ['hit', 50, 1])
})

test('what is asked for by digest never asks again, however old it is', async t => {
  const { server, manifests, asked, clock } = await cache(t)
  const { digest } = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  clock.at += 1e12
  await server.stop()
  t.equal((await manifests.get(name, parseReference(digest))).outcome, 'hit')
  t.equal(asked(), 1)
})

test('after tagTTL one conditional request serves all who wait, and a 304 makes the tag fresh', async t => {
  const { server, manifests, asked, clock } = await cache(t)
  const { digest } = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  clock.at += 61_000
  const all = await Promise.all(Array.from({ length: 20 }, () => manifests.get(name, v1)))
  t.strictSame([...new Set(all.map(each => `${each.outcome} ${each.age}`))], ['hit 0'])
  t.equal(asked(), 2)
  t.equal(server.requests.at(-1)?.headers['if-none-match'], `"${digest}"`)
  clock.at += 50_000
  t.equal((await manifests.get(name, v1)).age, 50)
  t.equal(asked(), 2)
})

test('a cold tag costs one request for all who wait', async t => {
  const { server, manifests, asked } = await cache(t)
  server.addImage('there/app', 'v1')
  const all = await Promise.all(Array.from({ length: 20 }, () => manifests.get(name, v1)))
  t.strictSame(all.map(each => each.outcome).sort(), [...Array(19).fill('join'), 'miss'])
  t.equal(asked(), 1)
})

test('after tagTTL a tag that was changed is the new image', async t => {
  const { server, manifests, content, clock } = await cache(t)
  const old = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  const changed = server.addImage('there/app', 'v1')
  clock.at += 61_000
  t.equal((await manifests.get(name, v1)).value.descriptor.digest, changed.digest)
  t.equal(await content.tags.resolve(name, tagged('v1')), changed.digest)
  t.equal((await manifests.get(name, parseReference(old.digest))).outcome, 'hit', 'the old image can still be pulled by digest')
})

test('a tag of another upstream is never fresh, and is asked for without a condition', async t => {
  const { server, manifests, upstream, other } = await cache(t)
  server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  t.equal((await other(routeTo(upstream, 'second.example')).get(name, v1)).outcome, 'miss')
  t.equal(server.requests.at(-1)?.headers['if-none-match'], undefined)
})

test('a tag of another upstream is served stale while the new one is away', async t => {
  const { server, manifests, upstream, other } = await cache(t)
  const { digest } = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  await server.stop()
  const served = await other(routeTo(upstream, 'second.example')).get(name, v1)
  t.strictSame([served.outcome, served.value.descriptor.digest], ['stale', digest])
})

for (const status of [408, 429, 500, 502, 503, 504]) {
  test(`a cached tag is served stale, with its age and a warning, when upstream answers ${status}`, async t => {
    const { server, manifests, clock } = await cache(t)
    const { digest } = server.addImage('there/app', 'v1')
    await manifests.get(name, v1)
    clock.at += 61_000
    server.faults.statuses.push({ status })
    const served = await manifests.get(name, v1)
    t.strictSame([served.outcome, served.age, served.value.descriptor.digest], ['stale', 61, digest])
    t.match(served.warning, /^stale: .*(answered|takes)/)
  })
}

test('a cached tag is served stale when upstream refuses the connection', async t => {
  const { server, manifests, clock } = await cache(t)
  server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  clock.at += 61_000
  await server.stop()
  t.equal((await manifests.get(name, v1)).outcome, 'stale')
})

test('a cached tag is served stale when upstream answers nothing in time', async t => {
  const made = await scene(t)
  const { upstream } = clientOf(t, [made.server], {
    limits: { connections: 8, connectTimeout: 2000, headerTimeout: 100, bodyTimeout: 100 }
  })
  const manifests = new ProxyManifests(made.content, routeTo(upstream, 'first.example'), { ...usual, tagTTL: 0 })
  made.server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  made.server.faults.headerDelay = 1_500
  t.equal((await manifests.get(name, v1)).outcome, 'stale')
})

test('a cached tag is served stale when upstream as a whole takes longer than a client waits', async t => {
  const made = await scene(t)
  made.server.addImage('there/app', 'v1')
  const waiting = (timeoutMs: number) => new ProxyManifests(made.content, made.route, usual, { now: () => made.clock.at, timeoutMs })
  await waiting(5_000).get(name, v1)
  made.server.faults.headerDelay = 1_000
  made.clock.at += 61_000
  t.equal((await waiting(100).get(name, v1)).outcome, 'stale')
})

test('an uncached tag is 504 when upstream takes longer than a client waits', async t => {
  const made = await scene(t)
  made.server.addImage('there/app', 'v1')
  made.server.faults.headerDelay = 1_000
  const manifests = new ProxyManifests(made.content, made.route, usual, { now: Date.now, timeoutMs: 100 })
  t.equal(await codeOf(manifests.get(name, v1)), '504 UNAVAILABLE')
})

for (const status of [401, 403]) {
  test(`a cached tag is not served when upstream answers ${status}`, async t => {
    const { server, manifests, clock } = await cache(t)
    server.addImage('there/app', 'v1')
    await manifests.get(name, v1)
    clock.at += 61_000
    server.faults.statuses.push({ status })
    t.equal(await codeOf(manifests.get(name, v1)), '403 DENIED')
  })
}

test('an upstream that fails gets no request for a few seconds, then one again', async t => {
  const { server, manifests, asked, clock } = await cache(t)
  server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  clock.at += 61_000
  server.faults.statuses.push({ status: 500 })
  await manifests.get(name, v1)
  const before = asked()
  t.equal((await manifests.get(name, v1)).outcome, 'stale')
  t.equal(asked(), before)
  server.faults.statuses.length = 0
  clock.at += 5_001
  t.equal((await manifests.get(name, v1)).outcome, 'hit')
})

test('after a 429 with Retry-After a cached tag asks once in that time', async t => {
  const { server, manifests, asked, clock } = await cache(t)
  server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  server.faults.statuses.push({ status: 429, headers: { 'retry-after': '600' } })
  clock.at += 61_000
  for (let at = 0; at < 59; at++, clock.at += 10_000) t.equal((await manifests.get(name, v1)).outcome, 'stale')
  t.equal(asked(), 2)
})

test('a pushed tag is not requested again and again either while upstream fails', async t => {
  const { server, manifests, content, asked } = await cache(t)
  await storeManifest(content, name, imageOf('c', ['l']), { tags: [tagged('v1')] })
  server.faults.statuses.push({ status: 500 })
  await manifests.get(name, v1)
  const before = asked()
  t.equal((await manifests.get(name, v1)).outcome, 'stale')
  t.equal(asked(), before)
})

test('serve: a cached tag that upstream no longer has is served stale and stays', async t => {
  const { server, manifests, content, clock } = await cache(t)
  const { digest } = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  server.content.tags.get('there/app')?.delete('v1')
  clock.at += 61_000
  t.equal((await manifests.get(name, v1)).outcome, 'stale')
  t.equal(await content.tags.resolve(name, tagged('v1')), digest)
})

test('forget: a cached tag that upstream no longer has is 404 and gone, its image stays by digest', async t => {
  const { server, manifests, content, clock } = await cache(t, { onUpstreamNotFound: 'forget' })
  const { digest } = server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  server.content.tags.get('there/app')?.delete('v1')
  clock.at += 61_000
  t.equal(await codeOf(manifests.get(name, v1)), '404 MANIFEST_UNKNOWN')
  t.equal(await content.tags.resolve(name, tagged('v1')), undefined)
  t.equal(await content.provenance.getTag(name, tagged('v1')), undefined)
  t.equal((await manifests.get(name, parseReference(digest))).outcome, 'hit')
})

test('forget: a pushed tag that upstream does not have is served, also while the 404 is remembered', async t => {
  const { manifests, content } = await cache(t, { onUpstreamNotFound: 'forget', negativeTTL: 10_000 })
  const digest = await storeManifest(content, name, imageOf('c', ['l']), { tags: [tagged('v1')] })
  for (let time = 0; time < 3; time++) t.equal((await manifests.get(name, v1)).value.descriptor.digest, digest)
  t.equal(await content.tags.resolve(name, tagged('v1')), digest)
})

test('a 404 is remembered for negativeTTL', async t => {
  const { manifests, asked } = await cache(t, { negativeTTL: 3_600_000 })
  t.equal(await codeOf(manifests.get(name, v1)), '404 MANIFEST_UNKNOWN')
  const before = asked()
  t.equal(await codeOf(manifests.get(name, v1)), '404 MANIFEST_UNKNOWN')
  t.equal(asked(), before)
})

test('without negativeTTL a 404 is not remembered', async t => {
  const { server, manifests } = await cache(t)
  t.equal(await codeOf(manifests.get(name, v1)), '404 MANIFEST_UNKNOWN')
  server.addImage('there/app', 'v1')
  t.equal((await manifests.get(name, v1)).outcome, 'miss')
})

test('a pushed tag that upstream has with the same digest stays a pushed one', async t => {
  const { server, manifests, content } = await cache(t)
  const bytes = imageOf('c', ['l'])
  await storeManifest(content, name, bytes, { tags: [tagged('v1')] })
  server.addManifest('there/app', bytes, { tag: 'v1' })
  t.equal((await manifests.get(name, v1)).value.descriptor.digest, digestOf(bytes))
  t.equal(await content.provenance.getTag(name, tagged('v1')), undefined)
  t.equal(await content.provenance.get(name, digestOf(bytes)), undefined)
})

test('a tag that is pushed while upstream is asked for it is not overwritten by the answer', async t => {
  const made = await cache(t)
  const { server, manifests, content } = made
  server.addImage('there/app', 'v1')
  const { asking, answer } = await held(made, () => manifests.get(name, v1))
  const pushed = await storeManifest(content, name, imageOf('c', ['l']), { tags: [tagged('v1')] })
  answer()
  await asking
  t.equal(await content.tags.resolve(name, tagged('v1')), pushed)
  t.equal(await content.provenance.getTag(name, tagged('v1')), undefined)
})

test('forget: a tag that is pushed while upstream says 404 is not removed', async t => {
  const made = await cache(t, { onUpstreamNotFound: 'forget' })
  const { server, manifests, content, clock } = made
  server.addImage('there/app', 'v1')
  await manifests.get(name, v1)
  clock.at += 61_000
  server.content.tags.get('there/app')?.delete('v1')
  const { asking, answer } = await held(made, () => manifests.get(name, v1))
  const pushed = await storeManifest(content, name, imageOf('c', ['l']), { tags: [tagged('v1')] })
  answer()
  await asking
  t.equal(await content.tags.resolve(name, tagged('v1')), pushed)
})

test('a cached tag that is pushed again with the same digest while upstream says 304 is a pushed one', async t => {
  const made = await cache(t)
  const { server, manifests, content, clock } = made
  const bytes = imageOf('c', ['l'])
  server.addManifest('there/app', bytes, { tag: 'v1' })
  await manifests.get(name, v1)
  clock.at += 61_000
  const { asking, answer } = await held(made, () => manifests.get(name, v1))
  await storeManifest(content, name, bytes, { tags: [tagged('v1')] })
  answer()
  await asking
  t.equal(await content.provenance.getTag(name, tagged('v1')), undefined)
})

test('a manifest with wrong bytes is refused and not stored', async t => {
  const { server, manifests, content } = await cache(t)
  const { digest } = server.addImage('there/app', 'v1')
  server.faults.wrongByte = 0
  t.equal(await codeOf(manifests.get(name, parseReference(digest))), '502 UNAVAILABLE')
  t.equal(await codeOf(manifests.get(name, v1)), '502 UNAVAILABLE')
  t.equal(await content.names.has(name), false)
})

// The report (containerd#7400, #10018): behind a captive portal, or while a registry is under maintenance, each answer is
// a page with a status of 200. It took the tag's place, and was then served as "stale" while the image lay on disk.
for (const page of ['json', 'html', 'posing'] as const) {
  test(`a cached tag is served stale, and stays, while upstream answers with a page (${page})`, async t => {
    const { server, manifests, content, clock } = await cache(t)
    const { digest } = server.addImage('there/app', 'v1')
    await manifests.get(name, v1)
    clock.at += 61_000
    server.faults.page = page
    for (let time = 0; time < 2; time++) {
      const served = await manifests.get(name, v1)
      t.strictSame([served.outcome, served.value.descriptor.digest], ['stale', digest])
      t.match(served.warning, /^stale: .*is no manifest/)
      clock.at += 10_000
    }
    t.equal(await content.tags.resolve(name, tagged('v1')), digest)
    server.faults.page = undefined
    t.strictSame((await manifests.get(name, v1)).outcome, 'hit')
  })

  test(`a page is no manifest: 502 with the reason, and nothing is stored (${page})`, async t => {
    const { server, manifests, content } = await cache(t)
    server.faults.page = page
    await t.rejects(manifests.get(name, v1), { status: 502, code: 'UNAVAILABLE', detail: { reason: /is no manifest/ } })
    t.equal(await content.names.has(name), false)
  })
}

test('a page that an earlier version took for a manifest is not served, and makes way for the image', async t => {
  const { server, manifests, content, clock } = await cache(t)
  const page = Buffer.from('{"status":"maintenance"}')
  const digest = digestOf(page)
  const provenance = { upstream: 'first.example/there', digest, checked: clock.at }
  await content.commit.putManifest(name, digest, page, { tags: [tagged('v1')], provenance })
  server.faults.page = 'json'
  t.equal(await codeOf(manifests.get(name, v1)), '502 UNAVAILABLE')
  server.faults.page = undefined
  const image = server.addImage('there/app', 'v1')
  t.equal((await manifests.get(name, v1)).value.descriptor.digest, image.digest)
  t.equal(await content.tags.resolve(name, tagged('v1')), image.digest)
})
