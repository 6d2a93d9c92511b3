// The attack: an upstream sends what is cheap to send and dear to read. A tag list of 31 MiB out of order froze the
// process for 30 s, 19 pages of referrers of 32 MiB each ended it, and so did a token of 64 KiB for each of 3,454 names.
import { test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import { sortUnique } from '../../../src/upstream/lists/sort-unique.ts'
import { longestTurnMs } from '../../support/turns.ts'
import { indexType, startUpstream } from '../../support/upstream.ts'
import { costly, costlyManifest, costlyTagList, largeIndex, longTagList, unknownDigest } from '../../support/upstream-hostile.ts'
import { clientOf, errorOf, never, ref, served } from './ask.ts'

const mib = 1024 * 1024
// Some 30 ms beside an idle machine. The attacks took seconds.
const tooLongMs = 400
const subject = parseDigest(unknownDigest(1))

test('hostile upstream: a tag list of 12 MiB is refused where its limit is passed, and freezes nothing', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: longTagList(12 * mib) }]
  const { upstream } = clientOf(t, [server])
  const asking = async () => t.match(await errorOf(upstream.listTags('a', {}, never())), { kind: 'invalid', code: 'SIZE' })
  t.ok((await longestTurnMs(asking)) < tooLongMs)
})

test('hostile upstream: a list of 100,000 tags in the worst order comes sorted, and freezes nothing', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 200, body: longTagList(1_000_000) }]
  const { upstream } = clientOf(t, [server])
  let items: string[] = []
  const asking = async () => {
    ;({ items } = await served(upstream.listTags('a', {}, never())))
  }
  t.ok((await longestTurnMs(asking)) < tooLongMs)
  t.ok(items.length > 100_000)
  t.ok(items.every((each, at) => at === 0 || (items[at - 1] ?? '') < each))
})

for (const kind of Object.keys(costly)) {
  test(`hostile upstream: 4 MiB of ${kind}, as manifest, list and referrers, freeze nothing`, async t => {
    const server = await startUpstream(t)
    const { upstream } = clientOf(t, [server])
    const attempts = [
      [costlyManifest(kind), indexType, () => upstream.fetchManifest('a', ref('v1'), { signal: never() })],
      [costlyTagList(kind, 4 * mib), 'application/json', () => upstream.listTags('a', {}, never())],
      [costlyManifest(kind), indexType, () => upstream.listReferrers('a', subject, {}, never())]
    ] as const
    for (const [body, type, ask] of attempts) {
      server.faults.statuses = [{ status: 200, body, headers: { 'content-type': type } }]
      const ms = await longestTurnMs(() => ask().catch(error => t.match(error, { name: 'UpstreamError', kind: 'invalid', code: 'SIZE' })))
      t.ok(ms < tooLongMs, `${Math.round(ms)} ms`)
    }
  })
}

test('hostile upstream: an index of 17,000 descriptors is read, as a manifest and as referrers', async t => {
  const server = await startUpstream(t)
  const body = largeIndex(17_000)
  server.faults.statuses = [{ status: 200, body, headers: { 'content-type': indexType } }]
  const { upstream } = clientOf(t, [server])
  t.match(await upstream.fetchManifest('a', ref('v1'), { signal: never() }), { descriptor: { size: body.length } })
  t.equal((await served(upstream.listReferrers('a', subject, {}, never()))).items.length, 17_000)
})

for (const [title, ask] of [
  ['referrers', '/referrers/'],
  ['tags', '/tags/']
] as const) {
  test(`hostile upstream: pages of ${title} count together, and a list past the limit ends`, async t => {
    const server = await startUpstream(t)
    const body = ask === '/tags/' ? longTagList(mib / 2) : largeIndex(3_000)
    // Each page names another one as the next.
    for (let page = 0; page < 60; page++)
      server.faults.statuses.push({ status: 200, times: 1, body, headers: { link: `</v2/a${ask}list?page=${page}>; rel="next"` } })
    const { upstream } = clientOf(t, [server])
    const error = await errorOf(ask === '/tags/' ? upstream.listTags('a', {}, never()) : upstream.listReferrers('a', subject, {}, never()))
    t.match(error, { kind: 'invalid', code: 'SIZE' })
    t.ok(server.requests.length < 20, `${server.requests.length} pages were read`)
  })
}

test('hostile upstream: of large answers few are read at once, and small ones do not wait for them', async t => {
  const server = await startUpstream(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  const body = largeIndex(4_000)
  server.faults.trickle = { body, headers: { 'content-type': indexType }, until: promise, when: each => each.path.includes('large') }
  server.addImage('a', 'small')
  const { upstream } = clientOf(t, [server], {
    limits: { connections: 32, connectTimeout: 2000, headerTimeout: 20_000, bodyTimeout: 20_000 }
  })
  const large = Array.from({ length: 16 }, (_, at) => upstream.fetchManifest('a', ref(`large${at}`), { signal: never() }))
  while (server.count('large') < 16) await new Promise(done => setImmediate(done))
  t.match(await upstream.fetchManifest('a', ref('small'), { signal: never() }), { document: { parsed: { manifests: [] } } })
  resolve()
  const all = await Promise.all(large)
  t.ok(
    all.every(each => each !== 'not-modified' && each.bytes.equals(body)),
    'and all of them come at last'
  )
})

test('hostile upstream: tokens of 64 KiB for thousands of names take some MiB', async t => {
  const auth = { scheme: 'Bearer', tokenLength: 65_536, expiresIn: 3_600 } as const
  const server = await startUpstream(t, { auth })
  const { upstream } = clientOf(t, [server])
  const ask = (at: number) => upstream.listTags(`n${at}`, {}, never())
  const names = 200
  for (let at = 0; at < names; at++) await ask(at)
  t.equal(server.tokenRequests.length, names)
  // The tokens that are kept are used again; those of 4 MiB before them are not kept.
  await ask(names - 1)
  t.equal(server.tokenRequests.length, names)
  for (let at = 0; at < 100; at++) await ask(at)
  t.equal(server.tokenRequests.length, names + 100)
})

test('hostile upstream: a token of usual size is kept for thousands of names', async t => {
  const server = await startUpstream(t, { auth: { scheme: 'Bearer', tokenLength: 1_024, expiresIn: 3_600 } })
  const { upstream } = clientOf(t, [server])
  for (let round = 0; round < 2; round++) for (let at = 0; at < 1_000; at++) await upstream.listTags(`n${at}`, {}, never())
  t.equal(server.tokenRequests.length, 1_000)
})

test('hostile upstream: an ETag that is longer than any is not kept', async t => {
  const server = await startUpstream(t)
  const { manifest } = server.addImage('a', 'v1')
  server.faults.statuses = [{ status: 200, body: manifest, headers: { etag: `"${'x'.repeat(8_000)}"` } }]
  const got = await clientOf(t, [server]).upstream.fetchManifest('a', ref('v1'), { signal: never() })
  t.ok(got !== 'not-modified' && got.etag === undefined)
})

test('hostile upstream: a host of 12,000 characters does not stay in messages', async t => {
  const server = await startUpstream(t)
  server.faults.statuses = [{ status: 307, headers: { location: `http://${'x'.repeat(12_000)}.example/` } }]
  const error = await errorOf(clientOf(t, [server]).upstream.fetchManifest('a', ref('v1'), { signal: never() }))
  t.ok(error.message.length <= 1_024)
})

test('upstream lists: in order and once, of equal keys the last', async t => {
  const items = Array.from({ length: 20_000 }, (_, at) => ({ key: String((at * 7_919) % 9_973), at }))
  const expected = [...new Map(items.map(each => [each.key, each])).values()].sort((a, b) => (a.key < b.key ? -1 : 1))
  t.strictSame(await sortUnique(items, each => each.key), expected)
  t.strictSame(await sortUnique([], String), [])
})
