import { test } from 'tap'
import { ask, bytesOf, digestOf, pushBlob, serve, startSession } from '../src/support.ts'
import { reading } from '../storage/contract-reading.ts'
import { certificate } from '../support/certificate.ts'
import { temporaryDirectory } from '../support/place.ts'
import { makeBucket, openS3, s3Settings, startS3 } from '../support/s3-server.ts'

const mebibyte = 1024 * 1024

test('a bucket over TLS', async t => {
  const server = await startS3(t, { tls: certificate(t) })
  if (!server) return

  for (const [title, clause] of Object.entries(reading))
    await t.test(`S3 over TLS: ${title}`, async t => clause(t, await openS3(t, server), { timeStepMs: 1_100 }))

  await t.test('S3 over TLS: a large blob is pushed, and pulled whole, by ranges, and by several at once', async t => {
    const s3 = s3Settings(server, makeBucket(server), await temporaryDirectory(t))
    const served = await serve(t, { storage: { s3 } })
    const [bytes, other] = [bytesOf(13 * mebibyte), bytesOf(12 * mebibyte)]
    const blob = await pushBlob(served, 'a', bytes)
    const session = await startSession(served, 'a')
    t.equal((await ask(served.listen, 'PUT', `${session}?digest=${digestOf(other)}`, { body: other })).status, 201)
    const pull = (digest: string, range?: string) =>
      ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers: range === undefined ? {} : { range } })
    const whole = await Promise.all([blob, digestOf(other), blob].map(digest => pull(digest)))
    t.strictSame(
      whole.map(({ body }) => digestOf(body)),
      [blob, digestOf(other), blob]
    )
    for (const [range, first, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=5242879-5242881', 5_242_879, 5_242_882],
      ['bytes=1000-9000000', 1000, 9_000_001],
      [`bytes=${bytes.length - 1}-`, bytes.length - 1, bytes.length],
      ['bytes=-70000', bytes.length - 70_000, bytes.length]
    ] as const) {
      const { status, body } = await pull(blob, range)
      t.equal(status, 206, range)
      t.ok(body.equals(bytes.subarray(first, end)), range)
    }
  })
})
