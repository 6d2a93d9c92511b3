import { test } from 'tap'
import { OciError } from '../../../src/oci/errors.ts'

test('errors: the answer has the form of the distribution-spec, with the detail where there is one', async t => {
  t.strictSame(new OciError('BLOB_UNKNOWN', { detail: { digest: 'x' } }).toJSON(), {
    errors: [{ code: 'BLOB_UNKNOWN', message: 'blob unknown to registry', detail: { digest: 'x' } }]
  })
  t.strictSame(
    JSON.stringify(new OciError('DENIED')),
    '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
  )
})

test('errors: the cause is for the operator and not part of the answer', async t => {
  const error = new OciError('UNKNOWN', { cause: new Error('/secret/path') })
  t.notMatch(JSON.stringify(error), '/secret/path')
  t.match(error.cause, { message: '/secret/path' })
})

test('errors: status and headers can be set for one answer', async t => {
  const error = new OciError('SIZE_INVALID', { status: 413, headers: { 'retry-after': '1' } })
  t.equal(error.status, 413)
  t.strictSame(error.headers, { 'retry-after': '1' })
  t.equal(new OciError('SIZE_INVALID').status, 400)
})
