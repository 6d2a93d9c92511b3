import { writeFile } from 'node:fs/promises'
import { type Test, test } from 'tap'
import pkg from '../../../package.json' with { type: 'json' }
import { ask, basicOf, bytesOf, dataPath, digestOf, guarded, metric, pushBlob, type Served, serve, startSession } from '../support.ts'

const exposed = async ({ admin }: Served): Promise<string> => (await ask(admin, 'GET', '/metrics')).body.toString()

async function counted(t: Test) {
  const served = await serve(t)
  return { served, value: (name: string, labels?: string) => metric(served, name, labels) }
}

test('metrics: requests are counted by route, method and code', async t => {
  const { served, value } = await counted(t)
  for (const path of ['/v2/', '/v2/', '/v2/a/tags/list', '/v2/none']) await ask(served.listen, 'GET', path)
  const requests = (labels: string) => value('registry_http_requests_total', labels)
  t.equal(await requests('{route="base",method="GET",code="200"}'), 2)
  t.equal(await requests('{route="tags",method="GET",code="404"}'), 1)
  t.equal(await requests('{route="none",method="GET",code="404"}'), 1)
  t.equal(await value('registry_http_request_duration_seconds_count', '{route="base"}'), 2)
})

test('metrics: unknown methods share one label', async t => {
  const { served, value } = await counted(t)
  for (const method of ['PROPFIND', 'SEARCH', 'M-SEARCH']) await ask(served.listen, method, '/v2/')
  t.equal(await value('registry_http_requests_total', '{route="base",method="other",code="405"}'), 3)
})

test('metrics: bytes of bodies are counted in and out', async t => {
  const { served, value } = await counted(t)
  const digest = await pushBlob(served, 'a', bytesOf(12_345))
  await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)
  await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`, { headers: { range: 'bytes=0-4' } })
  t.equal(await value('registry_http_request_bytes_total', '{route="uploads"}'), 12_345)
  t.equal(await value('registry_http_response_bytes_total', '{route="blob"}'), 12_350)
})

test('metrics: open upload sessions', async t => {
  const { served, value } = await counted(t)
  const location = await startSession(served, 'a')
  await startSession(served, 'a')
  t.equal(await value('registry_uploads_open', '{state="open"}'), 2)
  await ask(served.listen, 'DELETE', location)
  t.equal(await value('registry_uploads_open', '{state="open"}'), 1)
})

test('metrics: bytes and inodes of the storage', async t => {
  const { value } = await counted(t)
  for (const name of ['registry_storage_bytes', 'registry_storage_inodes']) {
    t.ok(((await value(name, '{state="free"}')) ?? -1) >= 0, name)
    t.ok(((await value(name, '{state="total"}')) ?? -1) >= 0, name)
  }
})

test('metrics: authentication outcomes', async t => {
  const served = await serve(t, { auth: guarded(t) })
  const outcome = (name: string) => metric(served, 'registry_authentications_total', `{outcome="${name}"}`)
  await ask(served.listen, 'GET', '/v2/')
  for (let round = 0; round < 2; round++) await ask(served.listen, 'GET', '/v2/', { headers: { authorization: basicOf('ro') } })
  await ask(served.listen, 'GET', '/v2/', { headers: { authorization: 'Basic x' } })
  t.strictSame([await outcome('anonymous'), await outcome('ok'), await outcome('cached'), await outcome('failed')], [1, 1, 1, 1])
})

test('metrics: the build and the hash of the configuration', async t => {
  const { served } = await counted(t)
  const text = await exposed(served)
  t.match(text, `registry_build_info{version="${pkg.version}",node="${process.version}"} 1`)
  t.match(text, /registry_config_info\{hash="[0-9a-f]{64}",mode="Local"\} 1/)
})

test('metrics: another configuration has another hash', async t => {
  const hash = async (served: Served) => /hash="([0-9a-f]+)"/.exec(await exposed(served))?.[1]
  const one = await serve(t)
  const two = await serve(t, { limits: { uploads: 7 } })
  t.not(await hash(one), await hash(two))
})

test('metrics: damaged objects', async t => {
  const { served, value } = await counted(t)
  const digest = await pushBlob(served, 'a', bytesOf(10))
  await writeFile(dataPath(served.root, digest), '')
  await ask(served.listen, 'GET', `/v2/a/blobs/${digest}`)
  t.equal(await value('registry_damaged_objects_total'), 1)
})

test("metrics: Node's own are there", async t => {
  const { served } = await counted(t)
  t.match(await exposed(served), /^process_resident_memory_bytes \d/m)
  t.match(await exposed(served), /^nodejs_eventloop_lag_seconds /m)
})

test('metrics: no label holds a name, a tag or a digest', async t => {
  const { served } = await counted(t)
  const digest = await pushBlob(served, 'telling/name', bytesOf(10))
  await ask(served.listen, 'GET', `/v2/telling/name/blobs/${digest}`)
  await ask(served.listen, 'GET', '/v2/telling/name/manifests/telling-tag')
  await ask(served.listen, 'GET', `/v2/telling/name/blobs/${digestOf('none')}`)
  t.notMatch(await exposed(served), /telling|sha256/)
})
