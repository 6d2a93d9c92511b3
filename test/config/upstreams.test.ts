import { test } from 'tap'
import { loaded, refused } from './written.ts'

const upstreams = (yaml: string) => `registry:\n  upstreams:\n    ${yaml}`

test('a further registry is reached at its own host and kept', async t => {
  t.same(loaded(t, upstreams('quay.io: {}')).registry.upstreams['quay.io'], {
    host: 'quay.io',
    path: '',
    endpoints: ['https://quay.io'],
    revalidate: 'get',
    policy: 'cache'
  })
})

test('docker.io is reached where its registry is, unless endpoints say otherwise', async t => {
  t.same(loaded(t, upstreams('docker.io: {}')).registry.upstreams['docker.io']?.endpoints, ['https://registry-1.docker.io'])
  const mirrored = loaded(t, upstreams('docker.io: { endpoints: ["mirror:5000"], scheme: HTTP }'))
  t.same(mirrored.registry.upstreams['docker.io']?.endpoints, ['http://mirror:5000'])
})

test('a further registry has credentials, an authority and a policy of its own in every mode', async t => {
  const { registry } = loaded(t, upstreams('"ghcr.io:443": { username: u, password: p, policy: transit }'))
  t.equal(registry.mode, 'Local')
  t.same(registry.upstreams['ghcr.io:443'], {
    host: 'ghcr.io:443',
    path: '',
    endpoints: ['https://ghcr.io'],
    credentials: { username: 'u', password: 'p' },
    revalidate: 'get',
    policy: 'transit'
  })
})

test('tags of Docker Hub are compared by HEAD, since it counts each GET as a pull, those of others by GET, unless settings say otherwise', async t => {
  const by = (yaml: string, host: string) => loaded(t, upstreams(yaml)).registry.upstreams[host]?.revalidate
  t.equal(by('docker.io: {}', 'docker.io'), 'head')
  t.equal(by('registry-1.docker.io: {}', 'registry-1.docker.io'), 'head')
  t.equal(by('hub.example: { endpoints: [registry-1.docker.io] }', 'hub.example'), 'head')
  t.equal(by('docker.io: { revalidate: get }', 'docker.io'), 'get')
  t.equal(by('quay.io: { revalidate: head }', 'quay.io'), 'head')
  const own = (mode: string, more: string) =>
    loaded(t, `registry:\n  mode: ${mode}\n  ${mode.toLowerCase()}: { imagesRepo: docker.io/deckhouse/ce${more} }`).registry.upstream
      ?.revalidate
  t.equal(own('Proxy', ''), 'head')
  t.equal(own('Proxy', ', revalidate: get'), 'get')
  t.equal(own('Direct', ''), undefined)
  t.match(refused(t, upstreams('quay.io: { revalidate: HEAD }')), [/revalidate: one of auto, head, get/])
  t.match(refused(t, 'registry:\n  mode: Direct\n  direct: { revalidate: head }'), [/direct\.revalidate/])
})

test('further registries are found in lower case, and nothing is found that was not written', async t => {
  const found = loaded(t, upstreams('Quay.IO: {}')).registry.upstreams
  t.ok(found['quay.io'])
  t.equal(found['constructor'], undefined)
  t.ok(Object.isFrozen(found['quay.io']))
})

test('a key that is not a registry is refused', async t => {
  const expected = 'a registry as containerd gives it in ns=: host or host:port, port 1 to 65535'
  for (const host of ['quay.io/x', 'https://quay.io', 'quay.io:0', 'quay.io:99999', '..', '', '127.1', 'a_b', '*']) {
    const faults = refused(t, upstreams(`"${host}": {}`))
    t.equal(faults.length, 1, host)
    t.ok(faults[0]?.startsWith('3 registry.upstreams') && faults[0].endsWith(`: ${expected}`), host)
  }
})

test('the rules of accounts hold for further registries', async t => {
  t.same(refused(t, upstreams('quay.io: { username: u }')), [
    `3 registry.upstreams["quay.io"]: 'password' is required when 'username' is provided.`
  ])
  t.same(refused(t, upstreams('quay.io: { license: l, username: u, password: p }')), [
    `3 registry.upstreams["quay.io"]: 'license' and 'username'/'password' are mutually exclusive.`
  ])
})

test('settings of other sections are refused in a further registry', async t => {
  t.match(refused(t, upstreams('quay.io: { imagesRepo: x }')), [/^3 registry\.upstreams\["quay\.io"\]\.imagesRepo: a known setting/])
  t.same(refused(t, upstreams('quay.io: { policy: keep }')), ['3 registry.upstreams["quay.io"].policy: one of cache, transit'])
})

test('the same registry in upper and in lower case is refused', async t => {
  t.same(refused(t, upstreams('quay.io: {}\n    Quay.io: {}')), [
    '4 registry.upstreams["Quay.io"]: every registry at most once, in upper or lower case'
  ])
})

test('a further registry with a name of this registry is refused: it would never be asked', async t => {
  t.same(refused(t, upstreams('"registry.d8-system.svc:5001": {}')), [
    '3 registry.upstreams["registry.d8-system.svc:5001"]: another registry than the names in server.names'
  ])
})

test('an upstream that is this registry itself is refused', async t => {
  const repo = 'registry.d8-system.svc:5001/system/deckhouse'
  t.same(refused(t, `registry:\n  mode: Proxy\n  proxy: { imagesRepo: "${repo}" }`), [
    '3 registry.proxy: an upstream other than this registry, whose names are in server.names'
  ])
  const replicas = `registry: { mode: Direct, direct: { imagesRepo: "${repo}", endpoints: ["10.0.0.1:5001", "10.0.0.2:5001"] } }`
  t.same(loaded(t, replicas).registry.upstream?.endpoints, ['https://10.0.0.1:5001', 'https://10.0.0.2:5001'])
})

test('a prefix inside upstreams/ is refused: content of other registries lies there', async t => {
  t.same(refused(t, 'server: { path: upstreams/quay.io }'), [
    '1 server.path: a name outside upstreams/, where content of other registries lies'
  ])
  t.equal(loaded(t, 'server: { path: upstreams-of-ours }').server.path, 'upstreams-of-ours')
})

test('how long answers hold and how upstreams are asked is read in milliseconds', async t => {
  const yaml = `
cache: { tagTTL: 0s, onUpstreamNotFound: forget, negativeTTL: 1m }
upstream: { connections: 8, connectTimeout: 500ms, headerTimeout: 10s, bodyTimeout: 2m, fills: 4, tokenHosts: [Auth.example.org, "t:8443"], redirectHosts: ["MinIO.example:9000"] }
`
  const { cache, upstream } = loaded(t, yaml)
  t.same(cache, { tagTTL: 0, onUpstreamNotFound: 'forget', negativeTTL: 60_000, metadataTTL: 5_000, pin: [] })
  t.same(upstream, {
    connections: 8,
    connectTimeout: 500,
    headerTimeout: 10_000,
    bodyTimeout: 120_000,
    fills: 4,
    tokenHosts: ['auth.example.org', 't:8443'],
    redirectHosts: ['minio.example:9000']
  })
})

test('timeouts, counts and token hosts out of their range are refused', async t => {
  const yaml =
    'cache: { onUpstreamNotFound: keep }\nupstream: { connectTimeout: 1ms, headerTimeout: 1h, fills: 0, tokenHosts: ["https://a"], redirectHosts: ["10.0.0.0/8"] }'
  t.same(
    refused(t, yaml).map(fault => fault.split(': ')[0]),
    [
      '1 cache.onUpstreamNotFound',
      '2 upstream.connectTimeout',
      '2 upstream.headerTimeout',
      '2 upstream.fills',
      '2 upstream.tokenHosts[0]',
      '2 upstream.redirectHosts[0]'
    ]
  )
})
