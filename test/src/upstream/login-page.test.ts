// The report: a captive portal answered each request with 200 and a login page. A HEAD of a blob told the page's size as the blob's, and a range
// of the page was passed on as bytes of the blob, which no digest verifies.
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, never, read, ref } from './ask.ts'

const page = { status: 200, headers: { 'content-type': 'text/html', 'content-length': '2000' }, body: '<'.repeat(2000) }

test('upstream blob: a login page is not a blob for a HEAD, a range, or a GET in place of a HEAD', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [page]
  const { upstream } = clientOf(t, [server])
  t.match(await errorOf(upstream.checkBlob('a', digest, never())), { kind: 'invalid' })
  t.match(await errorOf(read(upstream, 'a', digest, { first: 10, last: 20 })), { kind: 'invalid' })
  server.faults.statuses = [{ status: 405, when: each => each.method === 'HEAD' }, page]
  t.match(await errorOf(upstream.checkBlob('a', digest, never())), { kind: 'invalid' })
})

test('upstream manifest: behind a redirect a HEAD has a 404 of a registry, and none of a login page', async t => {
  const server = await startUpstream(t)
  const other = await startUpstream(t)
  server.faults.statuses = [{ status: 307, headers: { location: `${other.url}/v2/a/manifests/1` } }]
  const { upstream } = clientOf(t, [server])
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'not-found' })
  other.faults.statuses = [{ status: 404, headers: { 'content-type': 'text/html' } }]
  t.match(await errorOf(upstream.statManifest('a', ref('1'), never())), { kind: 'invalid' })
})

test('upstream blob: a 404 of a login page behind a redirect does not say that there is no blob, that of a store does', async t => {
  const server = await startUpstream(t)
  const other = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.redirect = other.url
  other.faults.statuses = [{ status: 404, headers: { 'content-type': 'text/html' }, body: '<html>' }]
  const { upstream } = clientOf(t, [server])
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'invalid' })
  other.faults.statuses = [{ status: 404, headers: { 'content-type': 'application/xml' }, body: '<Error/>' }]
  t.match(await errorOf(read(upstream, 'a', digest)), { kind: 'not-found' })
})
