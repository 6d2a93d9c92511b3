import { test } from 'tap'
import { openContent } from '../../../../src/content/content.ts'
import * as keys from '../../../../src/content/keys.ts'
import { digestOf } from '../../../../src/oci/digest.ts'
import { imageOf, named, pushBlob, storeManifest } from '../../../support/content.ts'
import { makeBucket, openS3, startS3 } from '../../../support/s3-server.ts'

const name = named('a')

test('what another registry removed is absent, and damage only where it left a link', async t => {
  const server = await startS3(t)
  if (!server) return
  const bucket = makeBucket(server)
  const [storage, others] = [await openS3(t, server, { bucket }), await openS3(t, server, { bucket })]
  const damages: string[] = []
  const open = () => openContent(storage, key => damages.push(key), { metadataTtlMs: 3_600_000 })
  let content = open()
  const blob = await pushBlob(content, name, 'the bytes')
  const manifest = await storeManifest(content, name, imageOf('the bytes', []))
  const look = async () => [
    await content.blobs.open(name, blob),
    await content.blobs.stat(name, blob),
    await content.manifests.get(name, manifest)
  ]
  // Its links are remembered, the bytes of the manifest are not.
  content = open()
  t.ok(await content.blobs.stat(name, blob))
  t.equal(await content.manifests.linked(name, manifest), manifest)

  await others.remove([keys.blob(blob), keys.blob(manifest), keys.layer(name, blob), keys.revision(name, manifest)])
  t.strictSame(await look(), [undefined, undefined, undefined])
  t.strictSame(damages, [])

  for (const key of [keys.layer(name, blob), keys.revision(name, manifest)]) {
    const digest = key.includes('_layers') ? blob : manifest
    await others.put(key, Buffer.from(digest))
  }
  t.strictSame(await look(), [undefined, undefined, undefined])
  t.strictSame([...new Set(damages)].sort(), [keys.blob(blob), keys.blob(manifest)].sort())
  t.equal(blob, digestOf(Buffer.from('the bytes')))
})
