import { test } from 'tap'
import { configHash, renderConfig } from '../../config/effective.ts'
import { loadConfig } from '../../config/load.ts'
import { authority, folder, loaded } from './written.ts'

const full = `
server: { listen: "[::]:5001", drain: 90s, tls: { certificate: c, key: k, clientCA: a }, forwarders: [lb] }
auth: { users: { file: h, roles: { rw: [pull, push], __proto__: [pull], ci: [{ pull: "**", push: [a/**, "quay.io:443/b/*"] }] } } }
limits: { manifestBytes: 8MiB, uploadIdle: 1h30m, minimumRate: { per: 1500ms } }
`

test('the effective configuration loads to the same configuration', async t => {
  const config = loaded(t, full)
  t.same(loaded(t, renderConfig(config)), config)
})

test('the effective configuration of the defaults says that everything is allowed to anonymous', async t => {
  const text = renderConfig(loadConfig({ env: {}, cwd: folder(t) }))
  t.match(text, /^auth:\n {2}anonymous:\n {4}- pull\n {4}- push\n {4}- delete\n/m)
})

test('the effective configuration is written in the notation of the file', async t => {
  const text = renderConfig(loaded(t, full))
  t.match(text, /^ {2}listen: "\[::\]:5001"$/m)
  t.match(text, /^ {2}drain: 1m30s$/m)
  t.match(text, /^ {2}manifestBytes: 8388608$/m)
})

test('the hash is the same for the same effective configuration, however it was written', async t => {
  const one = loaded(t, 'limits: { manifestBytes: 4MiB }\nauth: { users: { file: /h, roles: { a: [pull], b: [push] } } }')
  const two = loaded(t, 'auth: { anonymous: [], users: { roles: { b: [push], a: [pull] }, file: /h } }')
  t.equal(configHash(one), configHash(two))
  t.match(configHash(one), /^[0-9a-f]{64}$/)
})

test('the hash changes with any setting', async t => {
  const hashes = ['log: { level: info }', 'log: { level: warn }', 'server: { drain: 24s }', 'auth: {}', 'limits: { uploads: 1 }'].map(
    yaml => configHash(loaded(t, yaml))
  )
  t.equal(new Set(hashes).size, hashes.length)
})

const behind = `
registry:
  mode: Proxy
  proxy: { imagesRepo: "r.example.org:5000/a/b", scheme: HTTP, ttl: 90m, checkMode: Relax, endpoints: [b, "c:81"] }
  upstreams: { docker.io: { policy: transit }, quay.io: { ca: ${JSON.stringify(authority)} } }
cache: { tagTTL: 90s }
upstream: { bodyTimeout: 90s, tokenHosts: [a], proxy: { http: "http://p", none: .svc } }
`

test('the effective configuration of upstreams loads to the same configuration', async t => {
  const config = loaded(t, behind)
  t.same(loaded(t, renderConfig(config)), config)
  const direct = loaded(t, 'registry: { mode: Direct, direct: { imagesRepo: r } }')
  t.same(loaded(t, renderConfig(direct)), direct)
})

test('the effective configuration shows that there are passwords and licenses, and not which', async t => {
  const yaml = 'registry: { mode: Direct, direct: { license: hunter2 }, upstreams: { quay.io: { username: u, password: hunter3 } } }'
  const text = renderConfig(loaded(t, yaml))
  t.notMatch(text, /hunter/)
  t.equal(text.match(/password: "\*\*\*"/g)?.length, 2)
  t.match(text, 'username: license-token')
})

test('the hash does not change with a password: it is published', async t => {
  const hash = (password: string) =>
    configHash(loaded(t, `registry: { mode: Direct, direct: { license: ${password} } }\nstorage: { filesystem: { root: /r } }`))
  t.equal(hash('a'), hash('b'))
})
