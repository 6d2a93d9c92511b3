import { type Test, test } from 'tap'
import {
  type Answer,
  ask,
  bytesOf,
  codeOf,
  digestOf,
  type Given,
  imageOf,
  imageType,
  indexType,
  pushImage,
  putManifest,
  type Served,
  serve
} from '../support.ts'
import { Wire } from './wire.ts'

const limit = 4 * 1024 * 1024
const none = { mediaType: imageType, digest: digestOf('none'), size: 4 }

/** A repository with the tag `v1`, and a check that it is what it was. */
async function setUp(t: Test, given: Given = {}) {
  const served = await serve(t, given)
  const image = await pushImage(served, 'a', 'v1')
  const stands = async () =>
    t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).body.toString(), image.manifest, 'the old tag stays')
  return { served, image, stands }
}

type Bad = [what: string, status: number, code: string, body: (image: { manifest: string }) => string | Buffer, type?: string]

const edited =
  (change: Record<string, unknown>) =>
  ({ manifest }: { manifest: string }): string =>
    JSON.stringify({ ...JSON.parse(manifest), ...change })

const index = (manifests: unknown) => () => JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests })

const bad: Bad[] = [
  ['empty', 400, 'MANIFEST_INVALID', () => ''],
  ['not JSON', 400, 'MANIFEST_INVALID', () => '{"schemaVersion":2'],
  ['not UTF-8', 400, 'MANIFEST_INVALID', () => Buffer.from([0x7b, 0xff, 0x7d])],
  ['null', 400, 'MANIFEST_INVALID', () => 'null'],
  ['a list', 400, 'MANIFEST_INVALID', () => '[]'],
  ['a number', 400, 'MANIFEST_INVALID', () => '2'],
  ['an empty object', 400, 'MANIFEST_INVALID', () => '{}'],
  ['of schemaVersion 1', 400, 'MANIFEST_INVALID', edited({ schemaVersion: 1 })],
  ['of schemaVersion "2"', 400, 'MANIFEST_INVALID', edited({ schemaVersion: '2' })],
  ['of another media type than its Content-Type', 400, 'MANIFEST_INVALID', edited({ mediaType: indexType })],
  ['of an unknown media type', 400, 'MANIFEST_INVALID', edited({ mediaType: 'text/plain' }), 'text/plain'],
  ['of a media type that is no string', 400, 'MANIFEST_INVALID', edited({ mediaType: 5 })],
  ['image and index in one', 400, 'MANIFEST_INVALID', edited({ manifests: [] })],
  ['an image without config', 400, 'MANIFEST_INVALID', edited({ config: undefined })],
  ['with layers that are no list', 400, 'MANIFEST_INVALID', edited({ layers: {} })],
  ['with a layer that is no descriptor', 400, 'MANIFEST_INVALID', edited({ layers: [7] })],
  ['with a digest of bad form', 400, 'MANIFEST_INVALID', edited({ layers: [{ ...none, digest: '../../etc/passwd' }] })],
  ['with a size below zero', 400, 'MANIFEST_INVALID', edited({ layers: [{ ...none, size: -1 }] })],
  ['with a size that is no integer', 400, 'MANIFEST_INVALID', edited({ layers: [{ ...none, size: 1.5 }] })],
  ['with annotations that are no strings', 400, 'MANIFEST_INVALID', edited({ annotations: { a: 1 } })],
  ['with a subject that is no descriptor', 400, 'MANIFEST_INVALID', edited({ subject: 'x' })],
  ['with a missing layer', 404, 'MANIFEST_BLOB_UNKNOWN', edited({ layers: [none] })],
  ['with a missing config', 404, 'MANIFEST_BLOB_UNKNOWN', edited({ config: none })],
  ['an index with a missing manifest', 404, 'MANIFEST_BLOB_UNKNOWN', index([none]), indexType],
  ['nested 100,000 deep in lists', 400, 'MANIFEST_INVALID', () => '['.repeat(100_000)],
  ['nested 100,000 deep in objects', 400, 'MANIFEST_INVALID', () => '{"a":'.repeat(100_000)],
  ['with __proto__ as its only content', 400, 'MANIFEST_INVALID', () => '{"__proto__":{"schemaVersion":2,"config":{}}}'],
  ['of 4 MiB and a byte', 413, 'SIZE_INVALID', edited({ annotations: { a: 'x'.repeat(limit) } })]
]
for (const [what, status, code, body, type] of bad) {
  test(`end-7 PUT: a manifest that is ${what} answers ${status} ${code}`, async t => {
    const { served, image, stands } = await setUp(t)
    const answer = await putManifest(served, 'a', 'v1', body(image), type)
    t.strictSame([answer.status, codeOf(answer)], [status, code])
    await stands()
  })
}

test('end-7 PUT: a manifest nested 100,000 deep in an unknown field is no 500', async t => {
  const { served, image } = await setUp(t)
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  const { status } = await putManifest(served, 'a', 'v1', `${image.manifest.slice(0, -1)},"deep":${deep}}`)
  t.ok([201, 400].includes(status), `${status}`)
  const stored = await ask(served.listen, 'GET', '/v2/a/manifests/v1')
  t.equal(stored.status, 200)
})

const wrongSize = async (served: Served, manifest: string): Promise<Answer> => {
  const json = JSON.parse(manifest)
  return putManifest(served, 'a', 'v1', JSON.stringify({ ...json, config: { ...json.config, size: json.config.size + 1 } }))
}

test('end-7 PUT: a descriptor of another size than the content is accepted, and with limits.strictSizes 400 SIZE_INVALID', async t => {
  const indexed = (digest: string) => index([{ mediaType: imageType, digest, size: 1 }])()
  for (const [strictSizes, status, code] of [
    [false, 201, undefined],
    [true, 400, 'SIZE_INVALID']
  ] as const) {
    const { served, image } = await setUp(t, { limits: { strictSizes } })
    for (const answer of [await wrongSize(served, image.manifest), await putManifest(served, 'a', 'v1', indexed(image.digest), indexType)])
      t.strictSame([answer.status, answer.status === 201 ? undefined : codeOf(answer)], [status, code])
  }
})

for (const algorithm of ['sha256', 'sha512'] as const) {
  test(`end-7 PUT: a ${algorithm} digest that is not the body's answers 400 DIGEST_INVALID`, async t => {
    const { served, image } = await setUp(t)
    const other = digestOf('other', algorithm)
    const answer = await putManifest(served, 'a', `${other}?tag=v1`, `${image.manifest} `)
    t.strictSame([answer.status, codeOf(answer)], [400, 'DIGEST_INVALID'])
    t.equal((await ask(served.listen, 'GET', `/v2/a/manifests/${other}`)).status, 404)
  })
}

test('end-7 PUT: a blob of another repository is not enough', async t => {
  const { served, image } = await setUp(t)
  const answer = await putManifest(served, 'b', 'v1', image.manifest)
  t.strictSame([answer.status, codeOf(answer)], [404, 'MANIFEST_BLOB_UNKNOWN'])
  t.match(answer.body.toString(), image.config, 'which one is missing')
})

test('end-7 PUT: a manifest of exactly 4 MiB is taken', async t => {
  const { served, image } = await setUp(t)
  const most = image.manifest + ' '.repeat(limit - image.manifest.length)
  t.equal((await putManifest(served, 'a', 'v2', most)).status, 201)
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v2')).body.length, limit)
})

test('end-7 PUT: a body of unknown length is refused at 4 MiB with 413, readable while it is still sent', async t => {
  const { served, stands } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head('PUT /v2/a/manifests/v1', [`Content-Type: ${imageType}`, 'Transfer-Encoding: chunked'])
  const piece = bytesOf(1024 * 1024)
  for (let sent = 0; sent < 5; sent++) wire.socket.write(Buffer.concat([Buffer.from('100000\r\n'), piece, Buffer.from('\r\n')]))
  const { status, headers } = await wire.answer()
  t.equal(status, 413)
  t.equal(headers['connection'], 'close')
  await stands()
})

test('end-7 PUT: a connection that breaks leaves the old tag', async t => {
  const { served, image, stands } = await setUp(t)
  const wire = await Wire.dial(t, served.listen)
  wire.head('PUT /v2/a/manifests/v1', [`Content-Type: ${imageType}`, 'Content-Length: 5000'])
  wire.socket.write(imageOf([bytesOf(3)]).slice(0, image.manifest.length / 2))
  wire.socket.end()
  await wire.end()
  await stands()
})

test('a body that the endpoint does not want is no fault', async t => {
  const { served } = await setUp(t)
  const { status } = await ask(served.listen, 'GET', '/v2/a/tags/list', { body: '{"a":', headers: { 'content-type': 'application/json' } })
  t.equal(status, 200)
})
