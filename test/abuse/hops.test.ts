// The attacks, by an upstream, seen from the port: it redirects the ranged GET of a blob to a port that only this host reaches, such as the
// admin port of the registry itself, and the client is handed what is there. And the reports of what an upstream in trouble did to clients: a
// 429 for one image closed all others; a login page in its place made a cached tag a 502.
import { test } from 'tap'
import { behind, blobBehind, prefix, serveModes } from '../modes/scene.ts'
import { ask, codeOf } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'

for (const mode of ['Direct', 'Proxy'] as const) {
  test(`a ranged GET in ${mode} does not read the admin port by a redirect of the upstream`, async t => {
    const upstream = await startUpstream(t)
    const served = await serveModes(t, { registry: behind(mode, upstream) })
    const { path } = blobBehind(upstream, 100_000)
    for (const target of [served.admin, served.admin.replace('127.0.0.1', 'localhost'), '[::1]:1', '10.0.0.1', '169.254.169.254']) {
      upstream.faults.redirect = () => `http://${target}/metrics`
      const answer = await ask(served.listen, 'GET', path, { headers: { range: 'bytes=10-20' } })
      t.strictSame([answer.status, codeOf(answer)], [502, 'UNAVAILABLE'], target)
      t.notMatch(answer.body.toString(), /registry_/)
      t.equal((await ask(served.listen, 'HEAD', path)).status, 502, target)
    }
  })
}

test('a store on a private address is read where the settings name it', async t => {
  const upstream = await startUpstream(t)
  const store = await startUpstream(t, { content: upstream.content })
  const { host } = new URL(store.url)
  const served = await serveModes(t, { registry: behind('Direct', upstream), upstream: { redirectHosts: [host] } })
  const { path, bytes } = blobBehind(upstream, 1_000)
  upstream.faults.redirect = store.url
  const answer = await ask(served.listen, 'GET', path, { headers: { range: 'bytes=10-20' } })
  t.equal(answer.status, 206)
  t.ok(answer.body.equals(bytes.subarray(10, 21)))
})

test('a 429 for one image leaves the others served, and /status tells of it', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream) })
  for (const name of ['one', 'two']) upstream.addImage(`${prefix.there}/${name}`, 'v1')
  upstream.faults.statuses = [{ status: 429, headers: { 'retry-after': '3600' }, when: each => each.path.includes('/one/') }]
  const get = (name: string) => ask(served.listen, 'GET', `/v2/${prefix.here}/${name}/manifests/v1`)
  t.equal((await get('one')).status, 429)
  t.equal((await get('two')).status, 200)
  t.match(Object.values((await served.status())['upstreams'] as object), [[{ healthy: false, openUntil: Number }]])
  t.equal((await get('one')).status, 429)
  t.equal(upstream.count('/one/'), 1)
})

test('a login page in place of the upstream leaves a cached tag served, with a warning', async t => {
  const upstream = await startUpstream(t)
  const served = await serveModes(t, { registry: behind('Proxy', upstream), cache: { tagTTL: '0s', onUpstreamNotFound: 'forget' } })
  const { manifest } = upstream.addImage(`${prefix.there}/app`, 'v1')
  const get = () => ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
  t.equal((await get()).status, 200)
  upstream.faults.statuses = [{ status: 200, headers: { 'content-type': 'text/html' }, body: '<html><form>password</form></html>' }]
  const answer = await get()
  t.equal(answer.status, 200)
  t.match(answer.headers.warning, /^299 - "stale: /)
  t.equal(answer.body.toString(), manifest)
})

test('a tag of an upstream that counts each GET as a pull is compared by HEAD', async t => {
  const upstream = await startUpstream(t)
  const registry = behind('Proxy', upstream, { revalidate: 'head' })
  const served = await serveModes(t, { registry, cache: { tagTTL: '0s' } })
  const get = () => ask(served.listen, 'GET', `/v2/${prefix.here}/app/manifests/v1`)
  const first = upstream.addImage(`${prefix.there}/app`, 'v1')
  for (let count = 0; count < 3; count++) t.equal((await get()).body.toString(), first.manifest)
  t.strictSame([upstream.count('GET '), upstream.count('HEAD ')], [1, 2])
  const moved = upstream.addImage(`${prefix.there}/app`, 'v1')
  t.equal((await get()).body.toString(), moved.manifest)
  t.strictSame([upstream.count('GET '), upstream.count('HEAD ')], [2, 3])
})
