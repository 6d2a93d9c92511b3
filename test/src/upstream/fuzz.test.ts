// Whatever an upstream says, the client neither crashes, nor hangs, nor freezes, nor gives a manifest that is not what was
// asked for.

import { test } from 'tap'
import { algorithmOf, digestOf, isDigest, parseDigest } from '../../../src/oci/digest.ts'
import { parseChallenges } from '../../../src/upstream/auth/challenge.ts'
import { checkRealm } from '../../../src/upstream/auth/realm.ts'
import { parseGrant } from '../../../src/upstream/auth/token-service.ts'
import { nextLink, parseContentRange, retryAfterMs } from '../../../src/upstream/connection/headers.ts'
import { UpstreamError } from '../../../src/upstream/upstream.ts'
import { liveHeapBytes } from '../../abuse/attack.ts'
import { fc } from '../../support/seeded.ts'
import { longestTurnMs } from '../../support/turns.ts'
import { startUpstream, digestOf as textDigest } from '../../support/upstream.ts'
import { costly, costlyManifest, costlyTagList, unknownDigest } from '../../support/upstream-hostile.ts'
import { clientOf, limits, never, read, ref } from './ask.ts'

const numRuns = 5000

/** Texts made of the pieces that matter to a grammar, and of noise. */
function pieces(...words: string[]): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...words) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) }
  )
  return fc.array(piece, { maxLength: 24 }).map(all => all.join(''))
}

test('upstream fuzz: challenges', async t => {
  const words = ['Bearer', 'Basic', ' ', ',', '=', '"', '\\', 'realm=', 'scope=', '"https://a/t"', 'x', '\t']
  fc.assert(
    fc.property(pieces(...words), text => {
      for (const { scheme, parameters } of parseChallenges(text)) {
        if (!/^[^\s",=]+$/.test(scheme) || [...parameters.keys()].some(each => /[\s",=]/.test(each))) throw new Error(scheme)
      }
    }),
    { numRuns }
  )
  t.pass()
})

test('upstream fuzz: a challenge of any length is read in linear time', async t => {
  for (const piece of ['"', '\\', 'a="', ' ', ',', 'a ', 'a=', '"\\']) {
    t.ok(parseChallenges(piece.repeat(100_000)).length < 10_000)
    t.equal(nextLink(`<a>${';'.repeat(100_000)}`), undefined)
  }
})

test('upstream fuzz: a realm is near or refused', async t => {
  const words = [
    'http://',
    'https://',
    'registry.example.com',
    'example.com',
    'evil.com',
    '@',
    ':',
    '/',
    '.',
    '#',
    '?',
    '\\',
    '%2e',
    'registry'
  ]
  const endpoint = new URL('https://registry.example.com')
  fc.assert(
    fc.property(pieces(...words), text => {
      try {
        const url = checkRealm(text, endpoint, [])
        if (url.protocol !== 'https:' || !/^([^.]+\.)*example\.com\.?$/.test(url.hostname)) throw new Error(url.href)
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error
      }
    }),
    { numRuns }
  )
  t.pass()
})

test('upstream fuzz: Link, Content-Range and Retry-After', async t => {
  const link = pieces('<', '>', ';', 'rel', '=', '"', 'next', ',', ' ', '/v2/a', '?last=x')
  fc.assert(
    fc.property(link, text => {
      const target = nextLink(text)
      if (target !== undefined && !text.includes(`<${target}>`)) throw new Error(target)
    }),
    { numRuns }
  )
  fc.assert(
    fc.property(pieces('bytes ', '-', '/', '*', '0', '1', '99', '9007199254740993', ' '), text => {
      const { part, size } = parseContentRange(text) ?? {}
      for (const each of [part?.first, part?.last, size]) if (each !== undefined && !Number.isSafeInteger(each)) throw new Error(text)
      if (part && (part.last < part.first || (size !== undefined && part.last >= size))) throw new Error(text)
    }),
    { numRuns }
  )
  fc.assert(
    fc.property(pieces('60', '-', '.', 'Sat, 21 Nov 2026 10:00:00 GMT', 'e9', ' '), text => {
      const pause = retryAfterMs(text, 0)
      if (pause !== undefined && !(pause >= 0 && pause <= 3_600_000)) throw new Error(text)
    }),
    { numRuns }
  )
  t.pass()
})

test('upstream fuzz: answers of a token service', async t => {
  const json = fc.json({ maxDepth: 2 })
  const grant = fc
    .record({ token: fc.oneof(fc.string(), fc.integer()), expires_in: fc.oneof(fc.double(), fc.string()) })
    .map(each => JSON.stringify(each))
  fc.assert(
    fc.property(fc.oneof(json, grant, fc.string()), text => {
      const found = parseGrant(Buffer.from(text))
      if (found && (!/^[\x21-\x7e]+$/.test(found.token) || !(found.lifetime > 0))) throw new Error(text)
    }),
    { numRuns }
  )
  t.pass()
})

const image = '{"schemaVersion":2,"config":{}}'
const digests = [textDigest('{}'), textDigest(image), 'sha256:abc', 'none', '']
const head = fc.record(
  {
    'content-type': fc.constantFrom('text/html', 'application/json', 'application/vnd.oci.image.manifest.v1+json', '', ';'),
    'docker-content-digest': fc.constantFrom(...digests),
    'content-range': fc.constantFrom('bytes 0-1/2', 'bytes 5-9/10', 'bytes 5-*/x', 'bytes */7', ''),
    'retry-after': fc.constantFrom('0', '1', 'x'),
    'www-authenticate': fc.constantFrom(
      'Bearer',
      'Basic realm=x',
      'Bearer realm="http://127.0.0.1:1/t"',
      '"',
      'Bearer realm="http://evil.example/"'
    ),
    link: fc.constantFrom('<?x=1>; rel=next', '</v2/a>; rel="next"', '<', '<http://[>; rel=next'),
    location: fc.constantFrom('/v2/a', 'http://', '//', 'http://169.254.169.254/', 'file:///x', '')
  },
  { requiredKeys: [] }
)
const answers = fc.record({
  status: fc.constantFrom(200, 200, 200, 201, 204, 206, 206, 301, 304, 307, 400, 401, 403, 404, 405, 408, 416, 418, 429, 500, 503),
  headers: head,
  body: fc.oneof(
    fc.constantFrom('{}', image, '[]', 'null', '{"tags":[1,null,"a"]}', '{"manifests":[{}]}', '{"errors":[null]}'),
    fc.json(),
    fc.string()
  )
})
// For each of the requests that a run makes, so that one manifest at least is given, whatever is drawn.
const sound = { status: 200, headers: {}, body: image }
const references = fc.constantFrom('tag', textDigest('{}'), textDigest(image))

test('upstream fuzz: no answer makes more than an UpstreamError, and no manifest is given that is not what it should be', async t => {
  const server = await startUpstream(t)
  const digest = digestOf(Buffer.from('blob'))
  let given = 0
  await fc.assert(
    fc.asyncProperty(fc.array(answers, { minLength: 1, maxLength: 3 }), references, async (all, reference) => {
      server.faults.statuses = all.map(each => ({ ...each, times: 1 }))
      server.requests.length = 0
      const { upstream } = clientOf(t, [server], { limits: { ...limits, connections: 4 } })
      const attempts = await Promise.allSettled([
        upstream.fetchManifest('a', ref(reference), { signal: never() }),
        upstream.statManifest('a', ref(reference), never()),
        read(upstream, 'a', digest, { first: 0, last: 1 }),
        upstream.checkBlob('a', digest, never()),
        upstream.listTags('a', {}, never()),
        upstream.listReferrers('a', digest, {}, never())
      ])
      for (const each of attempts) if (each.status === 'rejected' && !(each.reason instanceof UpstreamError)) throw each.reason
      const [manifest] = attempts
      if (manifest.status === 'fulfilled' && manifest.value !== 'not-modified') {
        given++
        const { descriptor, bytes } = manifest.value
        if (digestOf(bytes, algorithmOf(descriptor.digest)) !== descriptor.digest) throw new Error('not verified')
        if (isDigest(reference) && descriptor.digest !== reference) throw new Error('another manifest')
      }
      await upstream.close()
    }),
    { numRuns: 500, examples: [[Array.from({ length: 6 }, () => sound), 'tag']] }
  )
  t.ok(given > 0)
})

// Some 30 ms beside an idle machine. What was seen took seconds.
const tooLongMs = 400
const kinds = fc.constantFrom(...Object.keys(costly))
// From 1 KiB to 2 MiB, each power as often. Larger ones are in hostile.test.ts.
const sizes = fc.double({ min: 10, max: 21, noNaN: true }).map(power => Math.floor(2 ** power))
const documents = fc.tuple(fc.constantFrom(costlyManifest, costlyTagList), kinds, sizes)
const types = fc.constantFrom('application/json', 'application/vnd.oci.image.index.v1+json', 'text/html')

test('upstream fuzz: no answer, of whatever size and values, costs the event loop more than a moment, or stays in memory', async t => {
  const auth = { scheme: 'Bearer', expiresIn: 3_600 } as const
  const server = await startUpstream(t, { auth })
  const { upstream } = clientOf(t, [server])
  const subject = parseDigest(unknownDigest(1))
  const link = { link: '</v2/a/tags/list?page=next>; rel="next"' }
  let names = 0
  const property = fc.asyncProperty(documents, types, fc.boolean(), async ([make, kind, bytes], type, asToken) => {
    const body = make(kind, bytes)
    const name = `n${names++}`
    // A token is asked for where a request is challenged.
    server.desk.auth = asToken ? { ...auth, tokenBody: body.toString() } : undefined
    server.faults.statuses = asToken ? [] : [{ status: 200, body, headers: { 'content-type': type, ...link } }]
    const requests = [
      () => upstream.fetchManifest(name, ref('v1'), { signal: never() }),
      () => upstream.statManifest(name, ref('v1'), never()),
      () => upstream.listTags(name, {}, never()),
      () => upstream.listNames({ n: 10 }, never()),
      () => upstream.listReferrers(name, subject, {}, never())
    ]
    for (const ask of requests) {
      const asking = async () => {
        await ask().catch((error: unknown) => {
          if (!(error instanceof UpstreamError)) throw error
        })
      }
      const ms = await longestTurnMs(asking)
      if (ms > tooLongMs) throw new Error(`${Math.round(ms)} ms`)
    }
  })
  const before = liveHeapBytes()
  await fc.assert(property, { numRuns: 40, endOnFailure: true })
  server.faults.statuses = []
  server.desk.auth = undefined
  server.requests.length = 0
  const grown = liveHeapBytes() - before
  t.ok(grown < 24 * 1024 * 1024, `${Math.round(grown / 1024)} KiB more are live`)
})
