import { test } from 'tap'
import { isNonDistributable, mediaTypes } from '../../../src/oci/descriptor.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { mediaTypeOf, parseManifest, readManifest } from '../../../src/oci/manifest.ts'
import { describe, imageOf, indexOf } from '../../support/content.ts'

const image = (more: Record<string, unknown> = {}): Buffer => imageOf('config', ['one', 'two'], more)
const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const nested = (depth: number, open: string, close: string): string => open.repeat(depth) + close.repeat(depth)
const withField = (json: string): Buffer => Buffer.from(`${image().toString().slice(0, -1)},"x":${json}}`)

test('manifest: an image needs its config and its layers, in this order', async t => {
  const parsed = parseManifest(image(), mediaTypes.ociManifest)
  t.equal(parsed.mediaType, mediaTypes.ociManifest)
  t.strictSame(
    parsed.blobs.map(each => each.digest),
    ['config', 'one', 'two'].map(each => digestOf(Buffer.from(each)))
  )
  t.strictSame(parsed.manifests, [])
})

test('manifest: an index needs its manifests', async t => {
  const children = [image(), image({ annotations: { a: 'b' } })]
  const parsed = parseManifest(indexOf(children), undefined)
  t.strictSame(
    parsed.manifests.map(each => each.digest),
    children.map(each => digestOf(each))
  )
  t.strictSame(parsed.blobs, [])
  t.equal(parsed.artifactType, undefined)
})

test('manifest: the four known media types are taken, under their own name and as unspecific content', async t => {
  for (const mediaType of [mediaTypes.ociManifest, mediaTypes.dockerManifest]) {
    for (const sent of [mediaType, undefined, 'application/json', 'application/octet-stream']) {
      t.equal(parseManifest(image({ mediaType }), sent).mediaType, mediaType)
    }
  }
  for (const mediaType of [mediaTypes.ociIndex, mediaTypes.dockerList]) {
    t.equal(parseManifest(indexOf([image()], { mediaType }), mediaType).mediaType, mediaType)
  }
})

test('manifest: one without a mediaType is what it looks like', async t => {
  t.equal(parseManifest(image({ mediaType: undefined }), mediaTypes.ociManifest).mediaType, mediaTypes.ociManifest)
  t.equal(parseManifest(indexOf([], { mediaType: undefined }), undefined).mediaType, mediaTypes.ociIndex)
})

test('manifest: absent and null lists are empty', async t => {
  t.equal(parseManifest(image({ layers: null }), undefined).blobs.length, 1)
  t.equal(parseManifest(image({ layers: undefined }), undefined).blobs.length, 1)
  t.strictSame(parseManifest(indexOf([], { manifests: null }), undefined).manifests, [])
})

test('manifest: the artifactType is its own, else the media type of the config', async t => {
  const config = describe('config', { mediaType: 'application/x.config' })
  t.equal(parseManifest(image({ config }), undefined).artifactType, 'application/x.config')
  t.equal(parseManifest(image({ config, artifactType: '' }), undefined).artifactType, 'application/x.config')
  t.equal(parseManifest(image({ config, artifactType: 'application/x.own' }), undefined).artifactType, 'application/x.own')
  t.equal(parseManifest(indexOf([], { artifactType: 'application/x.own' }), undefined).artifactType, 'application/x.own')
})

test('manifest: subject and annotations are read', async t => {
  const subject = describe('subject', { mediaType: mediaTypes.ociManifest })
  t.match(parseManifest(image({ subject, annotations: { k: 'v' } }), undefined), { subject, annotations: { k: 'v' } })
  const none = parseManifest(image({ subject: null, annotations: null }), undefined)
  t.notOk('subject' in none || 'annotations' in none)
})

const good = describe('x')
const bad: [title: string, bytes: Buffer, contentType?: string][] = [
  ['nothing', Buffer.alloc(0)],
  ['something that is not JSON', Buffer.from('{"schemaVersion":2')],
  ['two documents', Buffer.concat([image(), image()])],
  ['binary', Buffer.from([0x1f, 0x8b, 0, 0, 0xff])],
  [
    'invalid UTF-8 inside of a string',
    Buffer.concat([Buffer.from('{"schemaVersion":2,"x":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
  ],
  ['an UTF-8 byte order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), image()])],
  ['UTF-16', Buffer.from(image().toString(), 'utf16le')],
  ['null', text(null)],
  ['a number', text(2)],
  ['a string', text('x')],
  ['a list', text([{ schemaVersion: 2 }])],
  ['100,000 nested lists', Buffer.from(nested(100_000, '[', ']'))],
  ['100,000 nested objects', Buffer.from(nested(100_000, '{"a":', '}').replace(':}', ':0}'))],
  ['an image with a field that is nested 100,000 deep', withField(nested(100_000, '[', ']'))],
  ['100,000 brackets that are never closed', Buffer.from('['.repeat(100_000))],
  ['no schemaVersion', image({ schemaVersion: undefined })],
  ['schemaVersion 1', image({ schemaVersion: 1 })],
  ['schemaVersion "2"', image({ schemaVersion: '2' })],
  ['a mediaType that is a number', image({ mediaType: 2 })],
  ['a mediaType that is empty', image({ mediaType: '' })],
  ['a mediaType that is null', image({ mediaType: null })],
  ['an unknown mediaType', image({ mediaType: 'application/vnd.x+json' })],
  ['an unknown Content-Type', image({ mediaType: undefined }), 'application/vnd.x+json'],
  ['another mediaType than the Content-Type', image(), mediaTypes.dockerManifest],
  ['an image under the Content-Type of an index', image(), mediaTypes.ociIndex],
  ['an image that calls itself an index', image({ mediaType: mediaTypes.ociIndex })],
  ['an index that calls itself an image', indexOf([image()], { mediaType: mediaTypes.ociManifest })],
  ['an image that is an index as well', image({ manifests: [] })],
  ['an index that is an image as well', indexOf([image()], { config: good })],
  ['an index with layers', indexOf([image()], { layers: [] })],
  ['an ambiguous document without a mediaType', image({ mediaType: undefined, manifests: [] })],
  ['a document of Docker that does not say so itself', image({ mediaType: undefined }), mediaTypes.dockerManifest],
  ['a document that looks like nothing', text({ schemaVersion: 2 })],
  ['an image without config', image({ config: undefined })],
  ['an image whose config is null', image({ config: null })],
  ['an image whose config is a list', image({ config: [good] })],
  ['layers that are an object', image({ layers: { 0: good } })],
  ['a layer that is a string', image({ layers: ['x'] })],
  ['a layer that is null', image({ layers: [null] })],
  ['a descriptor without mediaType', image({ config: { ...good, mediaType: undefined } })],
  ['a descriptor without digest', image({ config: { ...good, digest: undefined } })],
  ['a descriptor whose digest is a path', image({ config: { ...good, digest: 'sha256:../../x' } })],
  ['a descriptor whose digest is of an unknown algorithm', image({ config: { ...good, digest: `md5:${'a'.repeat(32)}` } })],
  ['a descriptor whose digest is a list', image({ config: { ...good, digest: [good.digest] } })],
  ['a descriptor without size', image({ config: { ...good, size: undefined } })],
  ['a negative size', image({ config: { ...good, size: -1 } })],
  ['a size with a fraction', image({ config: { ...good, size: 1.5 } })],
  ['a size past 2^53', image({ config: { ...good, size: 2 ** 53 } })],
  [
    'an infinite size',
    Buffer.from(
      image()
        .toString()
        .replace(/"size":\d+/, '"size":1e999')
    )
  ],
  ['a size that is a string', image({ config: { ...good, size: '1' } })],
  ['a bad child', indexOf([], { manifests: [good, { ...good, size: null }] })],
  ['a bad subject', image({ subject: { digest: good.digest } })],
  ['a subject that is a string', image({ subject: good.digest })],
  ['annotations that are a list', image({ annotations: ['a'] })],
  ['annotations that are not strings', image({ annotations: { a: 1 } })],
  ['an artifactType that is a number', image({ artifactType: 1 })]
]

for (const [title, bytes, contentType] of bad) {
  test(`manifest: ${title} is MANIFEST_INVALID, with a reason`, async t => {
    t.throws(() => parseManifest(bytes, contentType), { code: 'MANIFEST_INVALID', status: 400, detail: { reason: /./ } })
  })
}

test('manifest: unknown fields do no harm, also those that could be mistaken for the language’s own', async t => {
  const hostile = image().toString().replace('{', '{"__proto__":{"config":1,"manifests":[]},"constructor":{"prototype":{"x":1}},')
  const parsed = parseManifest(Buffer.from(hostile), undefined)
  t.equal(parsed.mediaType, mediaTypes.ociManifest)
  t.equal(parsed.blobs.length, 3)
  t.equal(({} as Record<string, unknown>)['x'], undefined)
})

test('manifest: a required field that only the prototype would have is missing', async t => {
  const hostile = `{"schemaVersion":2,"mediaType":"${mediaTypes.ociManifest}","config":{"__proto__":${JSON.stringify(good)}}}`
  t.throws(() => parseManifest(Buffer.from(hostile), undefined), { code: 'MANIFEST_INVALID' })
})

test('manifest: an annotation named __proto__ is an annotation', async t => {
  const hostile = image({ annotations: { k: 'v' } })
    .toString()
    .replace('"k":"v"', '"__proto__":"v"')
  t.equal(JSON.stringify(parseManifest(Buffer.from(hostile), undefined).annotations), '{"__proto__":"v"}')
})

test('manifest: brackets and quotes inside of strings do not count as nesting', async t => {
  t.ok(parseManifest(image({ annotations: { a: '['.repeat(50_000), b: `\\"${'{'.repeat(50_000)}` } }), undefined))
  t.ok(parseManifest(withField(JSON.stringify(Array.from({ length: 50_000 }, () => [{}]))), undefined), 'nor does what stands side by side')
})

test('manifest: what is stored and not understood reads as nothing', async t => {
  t.equal(readManifest(Buffer.from('{')), undefined)
  t.equal(readManifest(image({ mediaType: 'application/vnd.x+json' })), undefined)
  t.equal(readManifest(image())?.blobs.length, 3)
})

test('manifest: the media type of what is stored is its own, else that of its shape, else unspecific', async t => {
  t.equal(mediaTypeOf(image({ mediaType: mediaTypes.dockerManifest })), mediaTypes.dockerManifest)
  t.equal(mediaTypeOf(image({ mediaType: 'application/vnd.x+json' })), 'application/vnd.x+json')
  t.equal(mediaTypeOf(image({ mediaType: undefined })), mediaTypes.ociManifest)
  t.equal(mediaTypeOf(indexOf([], { mediaType: undefined })), mediaTypes.ociIndex)
  t.equal(mediaTypeOf(text({ schemaVersion: 1, name: 'x' })), 'application/vnd.docker.distribution.manifest.v1+prettyjws')
  for (const bytes of [Buffer.from('{'), text({}), text([]), Buffer.alloc(0)]) t.equal(mediaTypeOf(bytes), mediaTypes.blob)
})

// The attack: a line break in a header field is refused by the server only when it writes the answer.
test('manifest: a stored mediaType that cannot stand in a header field is passed over', async t => {
  for (const mediaType of ['a/b\r\nset-cookie: x', 'a', '', 'a/\u{1f600}', `a/${'b'.repeat(200)}`]) {
    t.equal(mediaTypeOf(image({ mediaType })), mediaTypes.ociManifest, JSON.stringify(mediaType.slice(0, 30)))
  }
})

test('descriptor: layers that may not be distributed need not be there', async t => {
  for (const each of [
    'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
  ]) {
    t.ok(isNonDistributable(each), each)
  }
  for (const each of ['application/vnd.oci.image.layer.v1.tar+gzip', 'application/octet-stream', ''])
    t.notOk(isNonDistributable(each), each)
})
