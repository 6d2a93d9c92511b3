import { test } from 'tap'
import { checkCa, checkDuration, checkHost, checkPath, checkRegex, checkUsername } from '../../../src/containerd/values.ts'
import { directory, makeCa } from './scene.ts'

const hosts = {
  good: ['registry.d8-system.svc:5001', 'a', '10.0.0.1', '10.0.0.1:65535', '[fd00::1]:5001', '[::1]', 'my_host:1', 'R.Example.COM'],
  bad: [
    ...['', '.', '..', '../etc', 'a/b', 'a:0', 'a:99999', 'a:', ':5001', 'a:-1', 'a:05001', 'a:5001:5001', 'a b', 'a\nb', 'a\u0000'],
    ...['a"]\n[host."evil"]', '-a', 'a-', '.a', 'fd00::1', '[fd00::1', '[zz]', 'u:p@a', 'a?x', 'é', '$ip', `${'a'.repeat(250)}`]
  ]
}

for (const value of hosts.good) test(`the host ${value} is good`, async t => void t.doesNotThrow(() => checkHost('host', value)))
for (const value of hosts.bad) {
  test(`the host ${JSON.stringify(value.slice(0, 20))} is refused`, async t =>
    void t.throws(() => checkHost('host', value), /^host: expected/))
}

const paths = {
  good: ['', '/', '/a', '/system/deckhouse', '/a/b/', '/A._-/0'],
  bad: ['a', '/..', '/a/../b', '/.', '/a//b', '/a b', '/a\n', '/a%2e', '/a/..', '/$1']
}
for (const value of paths.good)
  test(`the path ${JSON.stringify(value)} is good`, async t => void t.doesNotThrow(() => checkPath('path', value)))
for (const value of paths.bad) {
  test(`the path ${JSON.stringify(value)} is refused`, async t => void t.throws(() => checkPath('path', value), /^path: expected/))
}

test('a rewrite is a literal path', async t => {
  for (const good of ['^system/deckhouse', 'a', '^a\\.b', '^a.b']) t.doesNotThrow(() => checkRegex('from', good))
  for (const bad of ['', '^', '(a+)+', '^a$', '^[a]', '^a|b', '^a\nb', '(?i)a']) t.throws(() => checkRegex('from', bad), bad)
})

test('a user name may hold what registries give out, but no colon and no control character', async t => {
  for (const good of ['ro', 'license-token', 'robot$deckhouse+pull', 'user@example.com']) t.doesNotThrow(() => checkUsername('user', good))
  for (const bad of ['', 'a:b', 'a\r\nb', 'a\u0000', '\ud800', 'a'.repeat(256)]) t.throws(() => checkUsername('user', bad))
})

test('a duration is one that Go reads', async t => {
  for (const good of ['1s', '500ms', '1m30s', '1.5s']) t.doesNotThrow(() => checkDuration('dial', good))
  for (const bad of ['', '1', 's', '1 s', '-1s', '1s\n']) t.throws(() => checkDuration('dial', bad), bad)
})

test('a CA is certificates in PEM, with or without text around them', async t => {
  const ca = makeCa()
  for (const good of [ca, `# ours\n${ca}\n${makeCa()}`]) t.doesNotThrow(() => checkCa('ca', good))
})

test('what containerd could not load as a CA is refused', async t => {
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
  t.throws(() => checkCa('ca', 'no PEM'), /at least one certificate/)
  t.throws(() => checkCa('ca', broken), /certificate 1 cannot be read/)
  t.throws(() => checkCa('ca', `${makeCa()}${broken}`), /certificate 2 cannot be read/)
})

test('a private key is not written to a file that everybody may read', async t => {
  t.throws(() => checkCa('ca', `${makeCa()}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`), /private key/)
})

test('a CA for a mirror over http is refused', async t => {
  t.throws(() => directory('a', { scheme: 'http', ca: makeCa() }), /http/)
})
