// The report: Docker Hub counts each GET of a manifest as a pull, a conditional one as well, and a HEAD not. A cache that compared its tags by
// GET used up the pulls of its account without pulling anything.
import { test } from 'tap'
import { parseDigest } from '../../../src/oci/digest.ts'
import { startUpstream } from '../../support/upstream.ts'
import { clientOf, errorOf, never, ref } from './ask.ts'

const methods = (requests: readonly { method: string }[]) => requests.map(each => each.method).join(' ')

test('upstream revalidation: by HEAD a tag that has not moved costs no GET, and one that has moved one', async t => {
  const server = await startUpstream(t)
  const known = parseDigest(server.addImage('a', '1').digest)
  const { upstream } = clientOf(t, [server], { revalidate: 'head' })
  const want = { known, ifNoneMatch: '"other"', signal: never() }
  t.equal(await upstream.fetchManifest('a', ref('1'), want), 'not-modified')
  t.equal(methods(server.requests), 'HEAD')
  const { digest } = server.addImage('a', '1')
  t.match(await upstream.fetchManifest('a', ref('1'), want), { descriptor: { digest } })
  t.equal(methods(server.requests), 'HEAD HEAD GET')
})

test('upstream revalidation: where HEAD tells no digest or is refused, a conditional GET decides', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { revalidate: 'head' })
  const want = { known: parseDigest(digest), ifNoneMatch: `"${digest}"`, signal: never() }
  server.faults.noDigest = true
  t.equal(await upstream.fetchManifest('a', ref('1'), want), 'not-modified')
  server.faults.headStatus = 405
  t.equal(await upstream.fetchManifest('a', ref('1'), want), 'not-modified')
  t.equal(methods(server.requests), 'HEAD GET HEAD GET')
})

test('upstream revalidation: a tag that is gone is not found after one HEAD', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  const { upstream } = clientOf(t, [server], { revalidate: 'head' })
  t.match(await errorOf(upstream.fetchManifest('a', ref('none'), { known: parseDigest(digest), signal: never() })), { kind: 'not-found' })
  t.equal(methods(server.requests), 'HEAD')
})

test('upstream revalidation: elsewhere it is one conditional GET', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', '1')
  const want = { known: parseDigest(digest), ifNoneMatch: `"${digest}"`, signal: never() }
  t.equal(await clientOf(t, [server]).upstream.fetchManifest('a', ref('1'), want), 'not-modified')
  t.equal(methods(server.requests), 'GET')
})
