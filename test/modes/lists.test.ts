import { test } from 'tap'
import { ask, pushImage } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import { behind, prefix, serveModes } from './scene.ts'

const app = `/v2/${prefix.here}/app`

for (const mode of ['Proxy', 'Direct'] as const) {
  test(`${mode}: tags and names are upstream's, under the names of here`, async t => {
    const upstream = await startUpstream(t)
    for (const tag of ['b', 'a', 'c']) upstream.addImage(`${prefix.there}/app`, tag)
    upstream.addImage('elsewhere/app', 'v1')
    upstream.addImage(prefix.there, 'v1')
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const tags = await ask(served.listen, 'GET', `${app}/tags/list?n=2`)
    t.strictSame(JSON.parse(tags.body.toString()), { name: `${prefix.here}/app`, tags: ['a', 'b'] })
    t.match(tags.headers.link, /last=b/)
    const names = await ask(served.listen, 'GET', '/v2/_catalog')
    t.strictSame(JSON.parse(names.body.toString()), { repositories: [prefix.here, `${prefix.here}/app`] })
  })

  test(`${mode}: a catalog is paged by names of here`, async t => {
    const upstream = await startUpstream(t)
    for (const name of ['a', 'b', 'c', 'd', 'e']) upstream.addImage(`${prefix.there}/${name}`, 'v1')
    upstream.addImage('aaa/first', 'v1')
    upstream.addImage('zzz/last', 'v1')
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const seen: string[] = []
    let path: string | undefined = '/v2/_catalog?n=2'
    for (let pages = 0; path !== undefined && pages < 10; pages++) {
      const { headers, body } = await ask(served.listen, 'GET', path)
      seen.push(...JSON.parse(body.toString()).repositories)
      path = /<(.*)>/.exec(headers.link?.toString() ?? '')?.[1]
    }
    t.strictSame(
      seen,
      ['a', 'b', 'c', 'd', 'e'].map(each => `${prefix.here}/${each}`)
    )
    const after = await ask(served.listen, 'GET', `/v2/_catalog?n=2&last=${prefix.here}/b`)
    t.strictSame(
      JSON.parse(after.body.toString()).repositories,
      ['c', 'd'].map(each => `${prefix.here}/${each}`)
    )
  })
}

test('Proxy: with the upstream away tags, names and referrers are those that are cached, with a warning', async t => {
  const upstream = await startUpstream(t)
  for (const tag of ['v1', 'v2']) upstream.addImage(`${prefix.there}/app`, tag)
  const { digest } = upstream.addImage(`${prefix.there}/app`, 'v3')
  const subject = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: 1 }
  const signature = upstream.addImage(`${prefix.there}/app`, 'sig', { subject })
  const served = await serveModes(t, { registry: { mode: 'Local' } })
  await pushImage(served, 'other/app', 'v1')
  await served.change({ registry: behind('Proxy', upstream) })
  for (const tag of ['v2', 'sig']) await ask(served.listen, 'GET', `${app}/manifests/${tag}`)
  await upstream.stop()
  const [tags, names, referrers] = await Promise.all(
    [`${app}/tags/list`, '/v2/_catalog', `${app}/referrers/${digest}`].map(path => ask(served.listen, 'GET', path))
  )
  t.strictSame(JSON.parse(String(tags?.body)).tags, ['sig', 'v2'])
  t.strictSame(JSON.parse(String(names?.body)).repositories, [`${prefix.here}/app`], 'and not what upstream could never give')
  t.strictSame(
    JSON.parse(String(referrers?.body)).manifests.map((each: { digest: string }) => each.digest),
    [signature.digest]
  )
  for (const each of [tags, names, referrers]) t.match(each?.headers.warning, /^299 - "only what is cached: /)
})

test('Proxy: with the upstream away the tags of a name that was never pulled are its fault and no empty list', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  await upstream.stop()
  t.equal((await ask(served.listen, 'GET', `${app}/tags/list`)).status, 502)
})

test('Direct: with the upstream away a list is 502', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Direct', upstream) })
  await upstream.stop()
  t.equal((await ask(served.listen, 'GET', `${app}/tags/list`)).status, 502)
})

test('Proxy: the tags of a name that upstream does not have are 404, whatever is cached', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  upstream.faults.statuses.push({ status: 404 })
  t.equal((await ask(served.listen, 'GET', `${app}/tags/list`)).status, 404)
})
