// The report (containerd#7400, #10018): a maintenance page is JSON with a status of 200, too. It took the place of the
// image that a tag named.
import { test } from 'tap'
import { mediaTypes } from '../../../src/oci/descriptor.ts'
import { kindOfType, recognizeManifest } from '../../../src/oci/manifest-kind.ts'

const config = { mediaType: 'a/b', digest: `sha256:${'0'.repeat(64)}`, size: 1 }
const image = { schemaVersion: 2, config, layers: [] }
const index = { schemaVersion: 2, manifests: [] }
const { ociManifest, ociIndex, dockerManifest, dockerList } = mediaTypes
const artifactType = 'application/vnd.oci.artifact.manifest.v1+json'
const orasType = 'application/vnd.cncf.oras.artifact.manifest.v1+json'
const schema1Type = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
const schema1 = { schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [] }

const manifests: [title: string, json: Record<string, unknown>, contentType: string, mediaType: string][] = [
  ['an image', { ...image, mediaType: ociManifest }, ociManifest, ociManifest],
  ['an index', { ...index, mediaType: ociIndex }, ociIndex, ociIndex],
  ['an image of Docker', { ...image, mediaType: dockerManifest }, dockerManifest, dockerManifest],
  ['a list of Docker', { ...index, mediaType: dockerList }, dockerList, dockerList],
  ['an image that does not name its media type', image, ociManifest, ociManifest],
  ['an index that does not name its media type', index, ociIndex, ociIndex],
  ['an image by its fields only', image, 'application/json', ociManifest],
  ['an index by its fields only', index, '', ociIndex],
  ['an index without manifests', { schemaVersion: 2, mediaType: ociIndex, manifests: null }, ociIndex, ociIndex],
  ['an image without layers', { schemaVersion: 2, mediaType: ociManifest, config, layers: null }, ociManifest, ociManifest],
  ['an image whose mediaType is empty', { ...image, mediaType: '' }, ociManifest, ociManifest],
  ['an artifact of an unknown type', { ...image, artifactType: 'application/x.y' }, ociManifest, ociManifest],
  ['an image that is sent as HTML', { ...image, mediaType: ociManifest }, 'text/html', ociManifest],
  ['an image of OCI that is sent as Docker’s', { ...image, mediaType: ociManifest }, dockerManifest, ociManifest],
  ['an image that is sent as Docker’s only', image, dockerManifest, ociManifest],
  ['an artifact manifest', { mediaType: artifactType, artifactType: 'a/b', blobs: [config] }, artifactType, artifactType],
  ['an artifact manifest of ORAS', { mediaType: orasType, artifactType: 'a/b' }, 'application/json', orasType],
  ['an image of schema 1', schema1, schema1Type, schema1Type],
  ['an unsigned image of schema 1', schema1, schema1Type.replace('prettyjws', 'json'), schema1Type.replace('prettyjws', 'json')],
  ['an image of schema 1 by its fields only', schema1, 'text/plain', schema1Type],
  ['a kind that says itself what it is', { mediaType: 'application/vnd.x.y+json' }, 'application/vnd.x.y+json', 'application/vnd.x.y+json']
]

for (const [title, json, contentType, mediaType] of manifests) {
  test(`manifest kind: ${title} is one`, async t => {
    t.strictSame(recognizeManifest(json, contentType), { mediaType })
  })
}

const others: [title: string, json: Record<string, unknown>, contentType: string][] = [
  ['a maintenance page', { status: 'maintenance' }, 'application/json'],
  ['a maintenance page that is sent as an image', { status: 'maintenance' }, ociManifest],
  ['a maintenance page that is sent as an index', { status: 'maintenance', schemaVersion: 2 }, ociIndex],
  ['a maintenance page that is sent as a kind of its own', { status: 'maintenance' }, 'application/vnd.x.y+json'],
  ['nothing', {}, ociManifest],
  ['an error', { errors: [{ code: 'UNAVAILABLE' }] }, 'application/json'],
  ['a tag list', { name: 'a', tags: ['b'] }, 'application/json'],
  ['a token', { token: 'x' }, 'application/json'],
  ['an image config', { architecture: 'amd64', config: { Env: [] }, rootfs: {} }, 'application/json'],
  ['only a schemaVersion', { schemaVersion: 2 }, ociManifest],
  ['only a schemaVersion of 1', { schemaVersion: 1 }, schema1Type],
  ['an image without config', { schemaVersion: 2, mediaType: ociManifest, layers: [] }, ociManifest],
  ['an image whose config is a text', { ...image, config: 'x' }, ociManifest],
  ['an image whose layers are a text', { ...image, layers: 'x' }, ociManifest],
  ['an index whose manifests are an object', { ...index, manifests: {} }, ociIndex],
  ['an image that is sent as an index', image, ociIndex],
  ['an image that calls itself an index', { ...image, mediaType: ociIndex }, ociIndex],
  ['an index that is sent as an image', { ...index, mediaType: ociIndex }, ociManifest],
  ['a document that is both', { ...image, manifests: [] }, ociManifest],
  ['a document that is both and calls itself an index', { ...index, config, mediaType: ociIndex }, ociIndex],
  ['an image whose mediaType is HTML', { ...image, mediaType: 'text/html' }, ociManifest],
  ['an image whose mediaType is a number', { ...image, mediaType: 2 }, ociManifest],
  ['an artifact manifest without an artifactType', { mediaType: artifactType }, artifactType],
  ['an image of schema 2 that is sent as one of schema 1', image, schema1Type],
  ['a kind that is sent as another one', { mediaType: 'application/vnd.x.y+json' }, 'application/vnd.x.z+json']
]

for (const [title, json, contentType] of others) {
  test(`manifest kind: ${title} is none`, async t => {
    t.match(recognizeManifest(json, contentType), { reason: /./ })
  })
}

test('manifest kind: a media type that a browser would render, or that cannot stand in a field, is none of a manifest', async t => {
  for (const type of [
    'text/html',
    'application/json',
    'application/octet-stream',
    'image/svg+xml',
    'application/vnd.x\r\ny+json',
    `application/vnd.${'x'.repeat(200)}+json`
  ])
    t.equal(kindOfType(type), undefined, JSON.stringify(type.slice(0, 40)))
})
