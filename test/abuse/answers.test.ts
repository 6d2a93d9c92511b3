// The attack, with the right to push: a manifest of 4 MiB of tiny lists costs 8 s of CPU to parse, in which all nodes wait.
// The report (containerd#7400, #10018): an upstream that answers with a page, 200 and JSON, makes a tag that was cached
// the page.
import { test } from 'tap'
import { behind, prefix, serveModes } from '../modes/scene.ts'
import { ask, codeOf, reasonOf, serve } from '../src/support.ts'
import { longestTurnMs } from '../support/turns.ts'
import { startUpstream } from '../support/upstream.ts'
import { costly, costlyManifest, largeIndex } from '../support/upstream-hostile.ts'

// Some 50 ms beside an idle machine. The attacks took seconds.
const tooLongMs = 500

test('Local: a manifest of 4 MiB that would cost seconds to parse is refused at once', async t => {
  const { listen } = await serve(t)
  for (const kind of Object.keys(costly).filter(each => each !== 'descriptors')) {
    const ms = await longestTurnMs(async () => {
      const answer = await ask(listen, 'PUT', '/v2/a/manifests/v1', { body: costlyManifest(kind, 4_194_304) })
      t.strictSame([answer.status, codeOf(answer), reasonOf(answer)], [400, 'MANIFEST_INVALID', 'the document has too many values'], kind)
    })
    // The body is made and sent in the same process.
    t.ok(ms < 4 * tooLongMs, `${kind}: ${Math.round(ms)} ms`)
  }
})

test('Local: an index of thousands of descriptors is refused for what is missing only', async t => {
  const { listen } = await serve(t)
  const body = largeIndex(5_000)
  const ms = await longestTurnMs(async () => t.equal((await ask(listen, 'PUT', '/v2/a/manifests/v1', { body })).status, 404))
  t.ok(ms < tooLongMs, `${Math.round(ms)} ms`)
})

for (const page of ['json', 'html', 'posing'] as const) {
  test(`Proxy: behind a page (${page}) the image is served with a Warning, as a manifest, and by HEAD, too`, async t => {
    const upstream = await startUpstream(t)
    const { manifest } = upstream.addImage(`${prefix.there}/app`, 'v1')
    const served = await serveModes(t, { registry: behind('Proxy', upstream), cache: { tagTTL: '0s' } })
    const path = `/v2/${prefix.here}/app/manifests/v1`
    t.equal((await ask(served.listen, 'GET', path)).status, 200)
    upstream.faults.page = page
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, body } = await ask(served.listen, method, path)
      t.strictSame([status, body.toString()], [200, method === 'GET' ? manifest : ''])
      t.match(headers, { warning: /^299 - "stale: .*"$/, 'content-type': /^application\/vnd\./ })
    }
  })

  test(`Direct: a page (${page}) is no manifest: 502 with the reason`, async t => {
    const upstream = await startUpstream(t)
    upstream.faults.page = page
    const served = await serveModes(t, { registry: behind('Direct', upstream) })
    const answer = await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
    t.strictSame([answer.status, codeOf(answer)], [502, 'UNAVAILABLE'])
    t.match(reasonOf(answer), /is no manifest/)
  })
}

test('Direct and Proxy: a manifest that is sent as HTML is served as what it is', async t => {
  for (const mode of ['Direct', 'Proxy'] as const) {
    const upstream = await startUpstream(t)
    const { manifest } = upstream.addImage(`${prefix.there}/app`, 'v1')
    upstream.faults.statuses = [{ status: 200, body: manifest, headers: { 'content-type': 'text/html' } }]
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const answer = await ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
    t.strictSame([answer.status, answer.headers['content-type']], [200, 'application/vnd.oci.image.manifest.v1+json'], mode)
  }
})
