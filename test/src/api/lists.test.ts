import { rm } from 'node:fs/promises'
import { type Test, test } from 'tap'
import {
  type Answer,
  ask,
  bytesOf,
  codeOf,
  digestOf,
  imageOf,
  imageType,
  indexType,
  pushBlob,
  pushImage,
  putManifest,
  type Served,
  serve
} from '../support.ts'

const json = ({ body }: Answer) => JSON.parse(body.toString())
const next = ({ headers }: Answer): string | undefined => /^<([^>]+)>; rel="next"$/.exec(headers.link?.toString() ?? '')?.[1]

/** Follows `Link` to the end; gives each page. */
async function pages(listen: string, path: string): Promise<Answer[]> {
  const found: Answer[] = []
  for (let at: string | undefined = path; at !== undefined && found.length < 50; ) {
    const page: Answer = await ask(listen, 'GET', at)
    found.push(page)
    at = next(page)
  }
  return found
}

/** A repository whose tags are one image. */
async function tagged(t: Test, tags: string[]): Promise<Served> {
  const served = await serve(t)
  const { manifest, digest } = await pushImage(served, 'a', tags[0] ?? '')
  const query = tags.slice(1).map(tag => `tag=${tag}`)
  await putManifest(served, 'a', `${digest}?${query.join('&')}`, manifest)
  return served
}

test('end-8a GET: all tags, upper case before lower case', async t => {
  const { listen } = await tagged(t, ['b', 'a', 'B', '1', '_x', 'a.b', 'a-b'])
  const answer = await ask(listen, 'GET', '/v2/a/tags/list')
  t.strictSame(json(answer), { name: 'a', tags: ['1', 'B', '_x', 'a', 'a-b', 'a.b', 'b'] })
  t.equal(next(answer), undefined)
})

test('end-8a GET: a repository without tags has an empty list', async t => {
  const served = await serve(t)
  await pushBlob(served, 'a', bytesOf(3))
  t.strictSame(json(await ask(served.listen, 'GET', '/v2/a/tags/list')), { name: 'a', tags: [] })
})

test('end-8a GET: an unknown repository answers 404 NAME_UNKNOWN', async t => {
  const { listen } = await serve(t)
  const answer = await ask(listen, 'GET', '/v2/none/tags/list')
  t.strictSame([answer.status, codeOf(answer)], [404, 'NAME_UNKNOWN'])
})

test('end-8b GET: n=0 is an empty list without Link', async t => {
  const { listen } = await tagged(t, ['a', 'b'])
  const answer = await ask(listen, 'GET', '/v2/a/tags/list?n=0')
  t.strictSame(json(answer).tags, [])
  t.notOk('link' in answer.headers)
})

test('end-8b GET: pages of n, each with a relative Link to the next, and the last without', async t => {
  const { listen } = await tagged(t, ['a', 'b', 'c', 'd', 'e'])
  const found = await pages(listen, '/v2/a/tags/list?n=2')
  t.strictSame(
    found.map(page => json(page).tags),
    [['a', 'b'], ['c', 'd'], ['e']]
  )
  t.match(next(found[0] as Answer), /^\/v2\/a\/tags\/list\?/)
})

test('end-8b GET: n that is all there is has no Link', async t => {
  const { listen } = await tagged(t, ['a', 'b'])
  t.notOk('link' in (await ask(listen, 'GET', '/v2/a/tags/list?n=2')).headers)
})

test('end-8b GET: last is not part of the page, and need not exist', async t => {
  const { listen } = await tagged(t, ['a', 'c', 'e'])
  t.strictSame(json(await ask(listen, 'GET', '/v2/a/tags/list?last=c')).tags, ['e'])
  t.strictSame(json(await ask(listen, 'GET', '/v2/a/tags/list?last=b&n=1')).tags, ['c'])
  t.strictSame(json(await ask(listen, 'GET', '/v2/a/tags/list?last=zz')).tags, [])
})

for (const n of ['x', '-1', '1.5', '', '99999999999']) {
  test(`end-8b GET: n=${n} answers 400`, async t => {
    const { listen } = await tagged(t, ['a'])
    const answer = await ask(listen, 'GET', `/v2/a/tags/list?n=${n}`)
    t.strictSame([answer.status, codeOf(answer)], [400, 'UNSUPPORTED'])
  })
}

test('_catalog: all names in byte order, paged by n and last', async t => {
  const served = await serve(t)
  for (const name of ['b', 'a/b', 'a-b', 'a', 'a/b/c', 'a.b']) await pushBlob(served, name, bytesOf(3))
  const all = ['a', 'a-b', 'a.b', 'a/b', 'a/b/c', 'b']
  t.strictSame(json(await ask(served.listen, 'GET', '/v2/_catalog')), { repositories: all })
  const found = await pages(served.listen, '/v2/_catalog?n=4')
  t.strictSame(
    found.map(page => json(page).repositories),
    [all.slice(0, 4), all.slice(4)]
  )
  t.strictSame(json(await ask(served.listen, 'GET', '/v2/_catalog?n=0')), { repositories: [] })
})

test('_catalog: an empty registry has an empty list, and so has one with upload sessions only', async t => {
  const { listen } = await serve(t)
  await ask(listen, 'POST', '/v2/a/blobs/uploads/')
  t.strictSame(json(await ask(listen, 'GET', '/v2/_catalog')), { repositories: [] })
})

test('_oci/ext/discover: the extensions that there are, for the registry and for a repository', async t => {
  const { listen } = await serve(t)
  for (const path of ['/v2/_oci/ext/discover', '/v2/a/b/_oci/ext/discover']) {
    const { status, body } = await ask(listen, 'GET', path)
    t.equal(status, 200, path)
    const { extensions } = JSON.parse(body.toString())
    t.strictSame(
      extensions.map((each: { name: string }) => each.name),
      ['_catalog', '_oci']
    )
    for (const { url } of extensions) t.equal((await ask(listen, 'GET', url)).status, 200, url)
  }
})

const subjectText = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [] })
const subject = { mediaType: indexType, digest: digestOf(subjectText), size: subjectText.length }

/** Referrers of the subject: three signatures and one of the config's media type. */
async function referred(t: Test) {
  const served = await serve(t)
  const config = bytesOf(8)
  await pushBlob(served, 'a', config)
  const digests: string[] = []
  for (const more of [1, 2, 3].map(at => ({ artifactType: 'application/vnd.test.signature', annotations: { at: `${at}` } }))) {
    const manifest = imageOf([config], { ...more, subject })
    await putManifest(served, 'a', digestOf(manifest), manifest)
    digests.push(digestOf(manifest))
  }
  const plain = imageOf([config], { subject })
  await putManifest(served, 'a', digestOf(plain), plain)
  const list = (query = '') => ask(served.listen, 'GET', `/v2/a/referrers/${subject.digest}${query}`)
  return { served, digests: digests.sort(), plain: digestOf(plain), list }
}

const digests = (answer: Answer): string[] => json(answer).manifests.map((each: { digest: string }) => each.digest)

test('end-12a GET: an index of all referrers with their artifact types and annotations', async t => {
  const { digests: signatures, plain, list } = await referred(t)
  const answer = await list()
  t.equal(answer.status, 200)
  t.equal(answer.headers['content-type'], indexType)
  t.match(json(answer), { schemaVersion: 2, mediaType: indexType })
  t.strictSame(digests(answer), [...signatures, plain].sort())
  const of = (digest: string) => json(answer).manifests.find((each: { digest: string }) => each.digest === digest)
  t.match(of(plain), { mediaType: imageType, artifactType: 'application/vnd.test.blob' }, 'the media type of the config')
  t.match(of(signatures[0] ?? ''), { artifactType: 'application/vnd.test.signature', annotations: { at: /^[123]$/ } })
  t.notOk('oci-filters-applied' in answer.headers)
})

test('end-12b GET: artifactType filters, and OCI-Filters-Applied says so', async t => {
  const { digests: signatures, list } = await referred(t)
  const answer = await list('?artifactType=application%2Fvnd.test.signature')
  t.strictSame(digests(answer), signatures)
  t.equal(answer.headers['oci-filters-applied'], 'artifactType')
  const none = await list('?artifactType=none')
  t.strictSame(digests(none), [])
  t.equal(none.headers['oci-filters-applied'], 'artifactType')
})

test('end-12a GET: pages of n that keep the filter', async t => {
  const { served, digests: signatures } = await referred(t)
  const path = `/v2/a/referrers/${subject.digest}?n=2&artifactType=application%2Fvnd.test.signature`
  const found = await pages(served.listen, path)
  t.strictSame(found.map(digests), [signatures.slice(0, 2), signatures.slice(2)])
  t.strictSame(
    found.map(page => page.headers['oci-filters-applied']),
    ['artifactType', 'artifactType']
  )
})

test('end-12a GET: last is not part of the page', async t => {
  const { digests: signatures, plain, list } = await referred(t)
  const all = [...signatures, plain].sort()
  t.strictSame(digests(await list(`?last=${all[1]}`)), all.slice(2))
})

for (const path of [`/v2/none/referrers/${subject.digest}`, `/v2/a/referrers/${digestOf('none')}`]) {
  test(`end-12a GET: nothing known is an empty index and no 404: ${path.slice(0, 12)}`, async t => {
    const { served } = await referred(t)
    const answer = await ask(served.listen, 'GET', path)
    t.strictSame([answer.status, answer.headers['content-type'], digests(answer)], [200, indexType, []])
  })
}

test('end-12a GET: a deleted referrer is gone from the list', async t => {
  const { served, digests: signatures, list } = await referred(t)
  await ask(served.listen, 'DELETE', `/v2/a/manifests/${signatures[0]}`)
  t.notOk(digests(await list()).includes(signatures[0] ?? ''))
})

test('end-12a GET: what stands in the index of the fallback tag is listed too', async t => {
  const served = await serve(t)
  const config = bytesOf(8)
  await pushBlob(served, 'a', config)
  const manifest = imageOf([config], { subject })
  await putManifest(served, 'a', digestOf(manifest), manifest)
  // As a registry without this list leaves it: the referrer is stored and only the tag leads to it.
  await rm(`${served.root}/docker/registry/v2/repositories/a/_referrers`, { recursive: true })
  const path = `/v2/a/referrers/${subject.digest}`
  t.strictSame(digests(await ask(served.listen, 'GET', path)), [])
  const entry = { mediaType: imageType, digest: digestOf(manifest), size: manifest.length }
  const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [entry] })
  t.equal((await putManifest(served, 'a', subject.digest.replace(':', '-'), index, indexType)).status, 201)
  t.strictSame(digests(await ask(served.listen, 'GET', path)), [digestOf(manifest)])
})
