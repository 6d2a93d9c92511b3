import { test } from 'tap'
import { Patience } from '../../../src/bundle/push/patience.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { UpstreamError } from '../../../src/upstream/error.ts'

/** A patience of a minute over a clock that only its pauses move. */
function scene(signal = new AbortController().signal) {
  let now = 0
  const pauses: number[] = []
  const waits: string[] = []
  const patience = new Patience({
    patienceMs: 60_000,
    signal,
    onWait: reason => waits.push(reason),
    now: () => now,
    random: () => 1,
    sleep: async ms => {
      pauses.push(ms)
      now += ms
    }
  })
  const pass = (ms: number) => {
    now += ms
  }
  return { patience, pauses, waits, pass }
}

const failing = (times: number, error: Error) => {
  let left = times
  return async () => {
    left--
    if (left >= 0) throw error
    return 'done'
  }
}
const broken = new UpstreamError('broken', 'answered 503', { endpoint: 'x', status: 503 })

test('patience: pauses grow up to half a minute, and it ends a minute after the last success', async t => {
  const { patience, pauses, waits } = scene()
  t.equal(await patience.run(failing(4, broken)), 'done')
  t.same(pauses, [1000, 2000, 4000, 8000])
  t.same(new Set(waits), new Set(['answered 503']))
  await t.rejects(patience.run(failing(1000, broken)), broken)
  t.same(pauses.slice(4), [1000, 2000, 4000, 8000, 16_000])
})

test('patience: another request that succeeds shows that the target is there', async t => {
  const { patience, pass } = scene()
  pass(59_500)
  t.equal(await patience.run(failing(0, broken)), 'done')
  t.equal(await patience.run(failing(3, broken)), 'done')
})

test('patience: a pause that the target asks for is kept, and one past the patience is not begun', async t => {
  const limited = (retryAfter: number) => new UpstreamError('limited', 'answered 429', { endpoint: 'x', status: 429, retryAfter })
  const { patience, pauses } = scene()
  t.equal(await patience.run(failing(1, limited(20_000))), 'done')
  t.same(pauses, [20_000])
  await t.rejects(patience.run(failing(1, limited(70_000))), /429/)
  t.same(pauses, [20_000])
})

test('patience: what is final is told at once: refusals, wrong bytes, a full disk', async t => {
  const { patience, pauses } = scene()
  for (const error of [
    new UpstreamError('denied', 'answered 403', { endpoint: 'x', status: 403 }),
    new UpstreamError('broken', 'answered 507', { endpoint: 'x', status: 507 }),
    new OciError('DIGEST_INVALID'),
    Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  ])
    await t.rejects(patience.run(failing(1, error)), error)
  t.same(pauses, [])
})

test('patience: an interrupt ends it during a pause', async t => {
  const interrupted = new AbortController()
  const patience = new Patience({
    patienceMs: 60_000,
    signal: interrupted.signal,
    onWait: () => interrupted.abort(new Error('interrupted'))
  })
  await t.rejects(patience.run(failing(1000, broken)))
})
