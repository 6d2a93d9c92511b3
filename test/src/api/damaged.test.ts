import { rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import {
  ask,
  bytesOf,
  codeOf,
  dataPath,
  digestOf,
  imageOf,
  layerPath,
  pushBlob,
  pushImage,
  putManifest,
  type Served,
  serve
} from '../support.ts'

const bytes = bytesOf(20_000)
const other = bytesOf(20_000)

/** A repository with two blobs in an image; `reopened` starts anew on what lies there, with nothing in memory. */
async function setUp(t: Test) {
  const served = await serve(t)
  const [digest, second] = [await pushBlob(served, 'a', bytes), await pushBlob(served, 'a', other)]
  const manifest = imageOf([bytes, other])
  await putManifest(served, 'a', 'v1', manifest)
  const reopened = async (): Promise<Served> => {
    await served.stop()
    return serve(t, { root: served.root })
  }
  return { root: served.root, digest, second, manifest: digestOf(manifest), reopened }
}

const errors = ({ lines }: Served, from: number) => lines.slice(from).filter(line => line.level >= 50)

/** Asks, and demands a 404 with exactly one line of an error that names the key. */
async function refusedOnce(t: Test, served: Served, method: string, path: string, key: string): Promise<void> {
  const from = served.lines.length
  const answer = await ask(served.listen, method, path)
  t.equal(answer.status, 404, `${method} ${path.slice(0, 20)}`)
  t.match(errors(served, from), [{ msg: 'stored content is damaged', key: new RegExp(`${key}$`) }])
  t.equal(errors(served, from).length, 1, 'one line a request')
}

const damages: [what: string, damage: (data: string, link: string) => Promise<void>, key: string][] = [
  ['a missing data file', data => rm(data), '/data'],
  ['a data file that lost its end', data => truncate(data, 10_000), '/data'],
  ['an empty data file', data => truncate(data, 0), '/data'],
  ['a data file that grew', data => writeFile(data, 'x', { flag: 'a' }), '/data'],
  ['an empty link', (_data, link) => writeFile(link, ''), '/link'],
  ['a link that holds garbage', (_data, link) => writeFile(link, '../../etc/passwd'), '/link'],
  ['a link to the bytes of another blob', (_data, link) => writeFile(link, digestOf(other)), '/link'],
  ['a link of a megabyte', (_data, link) => writeFile(link, 'a'.repeat(1024 * 1024)), '/link']
]
for (const [what, damage, key] of damages) {
  test(`end-2: ${what} answers 404 to GET, HEAD and ranges, with one error line naming the key`, async t => {
    const { root, digest, reopened } = await setUp(t)
    await damage(dataPath(root, digest), layerPath(root, 'a', digest))
    const served = await reopened()
    for (const method of ['GET', 'HEAD', 'GET']) await refusedOnce(t, served, method, `/v2/a/blobs/${digest}`, key)
    const ranged = await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers: { range: 'bytes=0-9' } })
    t.strictSame([ranged.status, codeOf(ranged)], [404, 'BLOB_UNKNOWN'])
  })
}

test('end-2 GET: other blobs of the repository are served beside a damaged one', async t => {
  const { root, digest, second, reopened } = await setUp(t)
  await truncate(dataPath(root, digest), 5)
  const served = await reopened()
  t.ok((await ask(served.listen, 'GET', `/v2/a/blobs/${second}`)).body.equals(other))
})

test('end-2 GET: a data file that is damaged while it is served from memory of its link is refused too', async t => {
  const served = await serve(t)
  const digest = await pushBlob(served, 'a', bytes)
  t.equal((await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)).status, 200)
  await truncate(dataPath(served.root, digest), 5)
  await refusedOnce(t, served, 'GET', `/v2/a/blobs/${digest}`, '/data')
})

const manifestDamages: [what: string, damage: (data: string) => Promise<void>][] = [
  ['a missing data file', data => rm(data)],
  ['a data file that lost its end', data => truncate(data, 10)],
  ['other bytes of the same length', async data => writeFile(data, 'x'.repeat((await import('node:fs')).statSync(data).size))]
]
for (const [what, damage] of manifestDamages) {
  test(`end-3: a manifest with ${what} answers 404 by tag and by digest, with one error line naming the key`, async t => {
    const { root, manifest, reopened } = await setUp(t)
    await damage(dataPath(root, manifest))
    const served = await reopened()
    for (const reference of ['v1', manifest]) {
      for (const method of ['GET', 'HEAD']) await refusedOnce(t, served, method, `/v2/a/manifests/${reference}`, '/data')
    }
  })
}

test('end-3: a damaged tag link answers 404 with one error line naming the key, and a push mends it', async t => {
  const { root, reopened } = await setUp(t)
  await writeFile(join(root, 'docker/registry/v2/repositories/a/_manifests/tags/v1/current/link'), 'sha256:xyz')
  const served = await reopened()
  await refusedOnce(t, served, 'GET', '/v2/a/manifests/v1', '/_manifests/tags/v1/current/link')
  await pushImage(served, 'a', 'v1')
  t.equal((await ask(served.listen, 'GET', '/v2/a/manifests/v1')).status, 200)
})

test('end-9 DELETE: a damaged manifest can be deleted', async t => {
  const { root, manifest, reopened } = await setUp(t)
  await truncate(dataPath(root, manifest), 3)
  const served = await reopened()
  t.equal((await ask(served.listen, 'DELETE', `/v2/a/manifests/${manifest}`)).status, 202)
})

test('end-11 POST: a damaged blob is not mounted', async t => {
  const { root, digest, reopened } = await setUp(t)
  await truncate(dataPath(root, digest), 3)
  const served = await reopened()
  for (const query of [`mount=${digest}&from=a`]) {
    t.equal((await ask(served.listen, 'POST', `/v2/b/blobs/uploads/?${query}`)).status, 202)
  }
})

test('end-7 PUT: a manifest over a damaged blob answers 404 MANIFEST_BLOB_UNKNOWN', async t => {
  const { root, digest, reopened } = await setUp(t)
  await rm(dataPath(root, digest))
  const served = await reopened()
  const answer = await putManifest(served, 'a', 'v2', imageOf([bytes]))
  t.strictSame([answer.status, codeOf(answer)], [404, 'MANIFEST_BLOB_UNKNOWN'])
})
