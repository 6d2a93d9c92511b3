import { test } from 'tap'
import { isNoAnswer, ociErrorOf, timeoutError } from '../../../src/backend/errors.ts'
import { OciError } from '../../../src/oci/errors.ts'
import { UpstreamError, type UpstreamErrorOptions, type UpstreamFault } from '../../../src/upstream/error.ts'

const fault = (kind: UpstreamFault, more: Partial<UpstreamErrorOptions> = {}) =>
  new UpstreamError(kind, 'why', { endpoint: 'host', ...more })
const unknown = () => new OciError('BLOB_UNKNOWN')

const answers: [UpstreamFault, number, string, passing: boolean][] = [
  ['not-found', 404, 'BLOB_UNKNOWN', false],
  ['unauthorized', 403, 'DENIED', false],
  ['denied', 403, 'DENIED', false],
  ['limited', 429, 'TOOMANYREQUESTS', true],
  ['unsatisfiable', 416, 'SIZE_INVALID', false],
  ['timeout', 504, 'UNAVAILABLE', true],
  ['unreachable', 502, 'UNAVAILABLE', true],
  ['broken', 502, 'UNAVAILABLE', true],
  ['invalid', 502, 'UNAVAILABLE', true],
  ['refused', 502, 'UNAVAILABLE', true]
]

for (const [kind, status, code, passing] of answers) {
  test(`an upstream's ${kind} is ${status} ${code}, and ${passing ? 'lets' : 'does not let'} the last known be served`, async t => {
    const told = ociErrorOf(fault(kind), unknown)
    t.ok(told instanceof OciError)
    if (told instanceof OciError) t.strictSame([told.status, told.code], [status, code])
    t.equal(isNoAnswer(fault(kind)), passing)
  })
}

test('a limit tells the client when to come back, in whole seconds', async t => {
  t.match(ociErrorOf(fault('limited', { retryAfter: 1_200 }), unknown), { headers: { 'retry-after': '2' } })
})

test('an unsatisfiable range tells the size where it is known', async t => {
  t.match(ociErrorOf(fault('unsatisfiable', { size: 7 }), unknown), { headers: { 'content-range': 'bytes */7' } })
  t.match(ociErrorOf(fault('unsatisfiable'), unknown), { headers: { 'content-range': 'bytes */*' } })
})

test('the cause stays with what the client is told', async t => {
  const error = fault('timeout')
  t.equal((ociErrorOf(error, unknown) as OciError).cause, error)
})

test('what is no fault of an upstream is given back as it is', async t => {
  const error = new Error('ours')
  t.equal(ociErrorOf(error, unknown), error)
  t.equal(isNoAnswer(error), false)
})

test('a time limit of ours lets the last known be served', async t => {
  const error = timeoutError('host/path')
  t.equal(error.status, 504)
  t.equal(isNoAnswer(error.cause), true)
})
