import { test } from 'tap'
import { ConfigError } from '../../config/read/fault.ts'
import { faultsOf, loaded, refused } from './written.ts'

test('the message has one line per fault, each with file, line, path, expectation and value', async t => {
  const yaml = 'log:\n  level: loud\nserver:\n  listen: nowhere\n'
  const listen = 'expected host:port such as 127.0.0.1:5001 or "[::1]:5001", port 0 to 65535'
  const expected = [
    'registry.yaml:2: log.level: expected one of silent, fatal, error, warn, info, debug, trace, found "loud"',
    `registry.yaml:4: server.listen: ${listen}, found "nowhere"`
  ]
  t.throws(() => loaded(t, yaml), new ConfigError([]))
  try {
    loaded(t, yaml)
  } catch (error) {
    t.equal(error instanceof Error && error.message, expected.join('\n'))
  }
})

test('an unknown setting is refused with the nearest one beside it', async t => {
  t.same(refused(t, 'server:\n  path: a\n  listn: 127.0.0.1:1'), ['3 server.listn: a known setting (did you mean listen?)'])
})

test('an unknown setting that is known elsewhere is refused with its place', async t => {
  t.same(refused(t, 'manifestBytes: 4MiB'), ['1 manifestBytes: a known setting (did you mean limits.manifestBytes?)'])
})

test('an unknown setting that resembles none is refused with those there are', async t => {
  t.same(refused(t, 'storage: { quux: x }'), [
    '1 storage.quux: one of the settings filesystem, s3, budget, reserve, inodeBudget, inodeReserve'
  ])
  t.same(refused(t, '__proto__: { a: 1 }'), [
    '1 __proto__: one of the settings registry, server, storage, auth, limits, cache, gc, scrub, upstream, log'
  ])
})

test('the value of an unknown setting is not printed: it may be a misspelt secret', async t => {
  t.notMatch(faultsOf(() => loaded(t, 'auth: { passwrd: hunter2 }'))[0], { value: /./ })
})

test('a wrong type is one fault, not one per rule that it breaks', async t => {
  t.same(refused(t, 'limits:\n  uploadIdle: 24'), ['2 limits.uploadIdle: a duration such as 24h or 1h30m, from 1s to 9000h'])
  for (const value of ['yes', '1', '"true"', 'on', '[true]'])
    t.same(refused(t, `limits:\n  strictSizes: ${value}`), ['2 limits.strictSizes: true or false'])
  t.same(refused(t, 'server: [1]'), ['1 server: a mapping of settings'])
  t.same(refused(t, 'auth:'), ['1 auth: a mapping of settings'])
})

test('durations, sizes and counts out of their range are refused', async t => {
  const yaml = 'limits:\n  uploadIdle: 0s\n  manifestBytes: 1GiB\n  connections: 0\n  uploads: 1.5\nserver:\n  drain: 2h'
  t.same(
    faultsOf(() => loaded(t, yaml)).map(({ path, value }) => `${path} ${value}`),
    ['limits.uploadIdle "0s"', 'limits.manifestBytes "1GiB"', 'limits.connections 0', 'limits.uploads 1.5', 'server.drain "2h"']
  )
})

test('mode Unmanaged is refused as the one that goes without the registry, and an unknown mode as unknown', async t => {
  const expected = '1 registry.mode: one of Direct, Proxy, Local'
  t.same(refused(t, 'registry: { mode: Unmanaged }'), [`${expected}; with Unmanaged the cluster goes without this registry`])
  t.same(refused(t, 'registry: { mode: local }'), [`${expected} (did you mean Local?)`])
  t.same(refused(t, 'registry: { mode: Managed-by-nobody }'), [expected])
})

test('an action that there is not, or that is there twice, is refused at its place', async t => {
  const expected = 'one of pull, push, delete, metrics, or a mapping of the first three to repositories such as { pull: "team/**" }'
  t.same(refused(t, 'auth:\n  anonymous:\n    - pull\n    - write'), [`4 auth.anonymous[1]: ${expected}`])
  t.same(refused(t, 'auth: { anonymous: [pull, pull] }'), [
    '1 auth.anonymous: a list of different actions out of pull, push, delete, metrics'
  ])
  t.same(refused(t, 'auth: { users: { file: h, roles: { "a.b": [admin] } } }'), [`1 auth.users.roles["a.b"][0]: ${expected}`])
})

test('a permission for repositories is refused where its pattern or its form is wrong', async t => {
  const faults = (role: string) => refused(t, `auth: { users: { file: h, roles: { ci: [${role}] } } }`)
  const place = '1 auth.users.roles.ci[0]'
  const expected = 'a pattern of repositories such as team/**'
  const wrong = ['/team', 'team/', 'team//a', 'Team', 'team*', 'te*am/a', 'team/***', '**/a/**', 'team:v1', 'a/b:5000/c', '..', '', 'a b']
  for (const pattern of wrong) {
    t.same(faults(`{ pull: "${pattern}" }`), [`${place}.pull: ${expected}, or a list of different ones`], pattern)
    t.same(faults(`{ pull: [a, "${pattern}"] }`), [`${place}.pull[1]: ${expected}`], pattern)
  }
  t.same(faults('{ push: [] }'), [`${place}.push: ${expected}, or a list of different ones`])
  t.same(faults('{ push: 5 }'), [`${place}.push: ${expected}, or a list of different ones`])
  t.same(faults('{ pul: team }'), [`${place}.pul: a known setting (did you mean pull?)`])
  t.match(faults('{}'), [/^1 auth\.users\.roles\.ci\[0\]: one of pull, push, delete, metrics, or a mapping/])
})

test('TLS needs both the certificate and the key', async t => {
  t.same(refused(t, 'server:\n  tls: { certificate: a.crt }'), ['2 server.tls.key: the path of a file; it is missing'])
  t.same(refused(t, 'server:\n  tls: { key: a.key }'), ['2 server.tls.certificate: the path of a file; it is missing'])
})

test('a prefix that is no repository name is refused', async t => {
  for (const path of ['System', '/a', 'a//b', '../a', 'a/_uploads', '""']) {
    t.same(refused(t, `server: { path: ${path} }`), ['1 server.path: a repository name of lower-case components'], path)
  }
})

test('a value with control characters is printed escaped, in one line and shortened', async t => {
  const [fault] = faultsOf(() => loaded(t, 'server: { listen: "a\\e[2J\\n\\u202e" }'))
  t.equal(fault?.value, '"a\\u001b[2J\\n\\u{202e}"')
  t.equal(faultsOf(() => loaded(t, `server: { listen: ${'x'.repeat(5000)} }`))[0]?.value?.length, 80)
})

test('a password before an @ in a wrong value or key is not printed', async t => {
  const yaml = `
registry:
  mode: Direct
  direct: { imagesRepo: "https://user:hunter2@registry.example.org" }
  upstreams: { "user:hunter2@quay.io": {} }
upstream:
  proxy: { http: "ftp://user:hunter2@proxy", https: "user:hunter2@proxy/path" }
`
  const faults = faultsOf(() => loaded(t, yaml))
  t.equal(faults.length, 4)
  t.notMatch(new ConfigError(faults).message, /hunter2/)
})
