import { test } from 'tap'
import { RateLimiter } from '../../../storage/rate-limiter.ts'
import { createTestClock } from '../../support/clock.ts'
import { startUpstream } from '../../support/upstream.ts'
import { blobIn, clientOf, limits, never, read, ref } from './ask.ts'

const kib = 1024

test('upstream limit: a body that the rate limit delays longer than bodyTimeout does not count as stalled', async t => {
  const server = await startUpstream(t)
  const { bytes, digest } = blobIn(server, 'a', 300 * kib)
  const hooks = { ingress: new RateLimiter(100 * kib) }
  const { upstream, events } = clientOf(t, [server], { hooks, limits: { ...limits, bodyTimeout: 200 } })
  t.ok((await read(upstream, 'a', digest)).bytes.equals(bytes))
  t.equal(server.requests.length, 1)
  t.match(
    events.filter(each => each.type === 'body'),
    [{ result: 'complete' }]
  )
})

test('upstream limit: a body that is cancelled while the rate limit delays it ends at once', async t => {
  const server = await startUpstream(t)
  const { digest } = blobIn(server, 'a', 300 * kib)
  const ingress = new RateLimiter(kib, { clock: createTestClock() })
  const { upstream } = clientOf(t, [server], { hooks: { ingress } })
  const body = await upstream.streamBlob('a', digest, { signal: never() })
  const reading = Array.fromAsync(body.chunks)
  reading.catch(() => {})
  while (ingress.waiting === 0) await new Promise(resolve => setImmediate(resolve))
  body.cancel()
  await t.rejects(reading, { name: 'AbortError' })
  t.equal(ingress.waiting, 0)
})

test('upstream limit: manifests do not wait', async t => {
  const server = await startUpstream(t)
  const { digest } = server.addImage('a', 'v1')
  const ingress = new RateLimiter(kib, { clock: createTestClock() })
  ingress.share().spend(1000 * kib)
  const { upstream } = clientOf(t, [server], { hooks: { ingress } })
  t.match(await upstream.fetchManifest('a', ref('v1'), { signal: never() }), { descriptor: { digest } })
})
