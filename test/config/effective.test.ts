import { test } from 'tap'
import { configHash, renderConfig } from '../../config/effective.ts'
import { loadConfig } from '../../config/load.ts'
import { folder, loaded } from './written.ts'

const full = `
server: { listen: "[::]:5001", drain: 90s, tls: { certificate: c, key: k, clientCA: a }, forwarders: [lb] }
auth: { users: { file: h, roles: { rw: [pull, push], __proto__: [pull] } } }
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
