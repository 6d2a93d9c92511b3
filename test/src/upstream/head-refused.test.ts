// The report: a store that signs its URLs for GET only answers 403 to a HEAD. Each HEAD of a client cost three of ours with pauses between, and
// showed an error on an upstream that was healthy.
import { test } from 'tap'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, errorOf, never, ref, served } from './ask.ts'

const methods = (requests: readonly { method: string }[]) => requests.map(each => each.method).join(' ')

for (const status of [403, 405, 501]) {
  test(`upstream HEAD: one that the store behind a redirect answers with ${status} is a GET at once, and so is every further one`, async t => {
    let now = 1_000_000
    const server = await startUpstream(t)
    const store = await startUpstream(t, { content: server.content })
    const { digest } = blobIn(server, 'a', 1000)
    server.faults.redirect = store.url
    store.faults.headStatus = status
    const waits: number[] = []
    const { upstream, events } = clientOf(t, [server], { hooks: { now: () => now, sleep: async ms => void waits.push(ms) } })
    t.strictSame(await upstream.checkBlob('a', digest, never()), { size: 1000 })
    t.strictSame(await upstream.checkBlob('a', digest, never()), { size: 1000 })
    t.equal(methods(store.requests), 'HEAD GET GET')
    t.strictSame(waits, [])
    t.strictSame(upstream.health(), [{ url: server.url, healthy: true }])
    t.notOk(events.some(each => each.type === 'failure'))
    now += 3_600_000
    await upstream.checkBlob('a', digest, never())
    t.equal(methods(store.requests), 'HEAD GET GET HEAD GET', 'forgotten after an hour')
  })
}

test('upstream HEAD: a refusal is remembered for blobs or manifests, not for both', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.addImage('a', '1')
  server.faults.headStatus = 405
  const { upstream } = clientOf(t, [server])
  await served(upstream.statManifest('a', ref('1'), never()))
  await served(upstream.statManifest('a', ref('1'), never()))
  await upstream.checkBlob('a', digest, never())
  t.equal(methods(server.requests), 'HEAD GET GET HEAD GET')
})

test('upstream HEAD: where the GET is refused too the right is missing, and HEAD is asked again', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 1000)
  server.faults.statuses = [{ status: 403 }]
  const { upstream } = clientOf(t, [server])
  for (let count = 0; count < 2; count++) t.match(await errorOf(upstream.checkBlob('a', digest, never())), { kind: 'denied' })
  t.equal(methods(server.requests), 'HEAD GET HEAD GET')
})
