import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../../config/load.ts'
import { authority, faultsOf, folder, loaded, refused } from './written.ts'

const direct = (settings: string) => `registry: { mode: Direct, direct: { ${settings} } }`
const proxy = (settings: string) => `registry: { mode: Proxy, proxy: { ${settings} } }`

test('a Direct section has the defaults of the ModuleConfig', async t => {
  t.same(loaded(t, direct('')).registry, {
    mode: 'Direct',
    upstream: {
      host: 'registry.deckhouse.io',
      path: 'deckhouse/ce',
      endpoints: ['https://registry.deckhouse.io'],
      checkMode: 'Default'
    },
    upstreams: {}
  })
})

test('a Proxy section has a ttl of 168h beside them', async t => {
  t.equal(loaded(t, proxy('')).registry.upstream?.ttl, 604_800_000)
  t.equal(loaded(t, proxy('ttl: 1h5m30s')).registry.upstream?.ttl, 3_930_000)
})

test('imagesRepo may have a port, and may have no path', async t => {
  const upstream = (repo: string) => loaded(t, direct(`imagesRepo: "${repo}"`)).registry.upstream
  t.match(upstream('Registry.Example.org:5000'), {
    host: 'registry.example.org:5000',
    path: '',
    endpoints: ['https://registry.example.org:5000']
  })
  t.match(upstream('10.0.0.1/a_b/c'), { host: '10.0.0.1', path: 'a_b/c' })
})

test('the scheme and a port that it implies make the base URL', async t => {
  const endpoints = (settings: string) => loaded(t, direct(settings)).registry.upstream?.endpoints
  t.same(endpoints('imagesRepo: "r:80", scheme: HTTP'), ['http://r'])
  t.same(endpoints('imagesRepo: "r:443", scheme: HTTP'), ['http://r:443'])
  t.same(endpoints('imagesRepo: "r:443"'), ['https://r'])
})

test('endpoints stand in place of the host, each once, in order', async t => {
  const route = loaded(t, direct('imagesRepo: r/p, endpoints: ["b:5001", "[fd00::1]:5001", a, "B:5001", "a:443"]')).registry.upstream
  t.equal(route?.host, 'r')
  t.same(route?.endpoints, ['https://b:5001', 'https://[fd00::1]:5001', 'https://a'])
})

test('a license is the password of license-token', async t => {
  t.same(loaded(t, direct('license: abc')).registry.upstream?.credentials, { username: 'license-token', password: 'abc' })
})

test('a license, a password and an authority may be in files', async t => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'secret'), 'abc\n')
  writeFileSync(join(cwd, 'ca'), authority)
  const upstream = (yaml: string) => {
    writeFileSync(join(cwd, 'r.yaml'), yaml)
    return loadConfig({ file: 'r.yaml', cwd, env: {} }).registry.upstream
  }
  t.match(upstream(direct('licenseFile: secret, caFile: ca')), { credentials: { password: 'abc' }, ca: authority })
  t.match(upstream(proxy('username: u, passwordFile: secret')), { credentials: { username: 'u', password: 'abc' } })
})

test('settings that are written empty, as templates do, are as good as absent', async t => {
  const route = loaded(t, direct('license: "", username: "", password: "", ca: ""')).registry.upstream
  t.same(Object.keys(route ?? {}).toSorted(), ['checkMode', 'endpoints', 'host', 'path'])
  t.same(loaded(t, direct('license: x, username: ""')).registry.upstream?.credentials?.password, 'x')
})

test('a mode without its section is refused in the words of the ModuleConfig', async t => {
  for (const [mode, section] of [
    ['Direct', 'direct'],
    ['Proxy', 'proxy']
  ]) {
    t.same(refused(t, `registry: { mode: ${mode} }`), [`1 registry: when mode is '${mode}', '${section}' section must be specified.`])
  }
})

test('a section of another mode is refused in the words of the ModuleConfig', async t => {
  for (const [owner, section] of [
    ['Direct', 'direct'],
    ['Proxy', 'proxy'],
    ['Unmanaged', 'unmanaged']
  ]) {
    const rule = `3 registry: when mode is not '${owner}', '${section}' section must be omitted.`
    t.same(refused(t, `registry:\n  mode: Local\n  ${section}: {}`), [rule])
  }
  t.same(refused(t, 'registry: { direct: {} }'), ["1 registry: when mode is not 'Direct', 'direct' section must be omitted."])
})

test('an empty imagesRepo is refused in the words of the ModuleConfig', async t => {
  t.same(refused(t, direct('imagesRepo: ""')), ["1 registry.direct: 'imagesRepo' is required."])
  t.same(refused(t, proxy('imagesRepo: ')), ["1 registry.proxy: 'imagesRepo' is required."])
})

test('a user without a password and a password without a user are refused in the words of the ModuleConfig', async t => {
  t.same(refused(t, direct('username: u')), ["1 registry.direct: 'password' is required when 'username' is provided."])
  t.same(refused(t, proxy('password: hunter2')), ["1 registry.proxy: 'username' is required when 'password' is provided."])
  t.same(refused(t, proxy('username: u, password: ""')), ["1 registry.proxy: 'password' is required when 'username' is provided."])
})

test('a license beside a user is refused in the words of the ModuleConfig', async t => {
  const rule = "1 registry.direct: 'license' and 'username'/'password' are mutually exclusive."
  t.same(refused(t, direct('license: l, username: u, password: p')), [rule])
})

test('a ttl below 5 minutes is refused in the words of the ModuleConfig', async t => {
  for (const ttl of ['4m59s', '299s', '0s'])
    t.same(refused(t, proxy(`ttl: ${ttl}`)), ["1 registry.proxy: 'ttl' should be at least 5 minutes."], ttl)
  t.equal(loaded(t, proxy('ttl: 5m')).registry.upstream?.ttl, 300_000)
})

test('a ttl in another notation is refused', async t => {
  for (const ttl of ['7d', '""', '168', '600000ms', '5m1h']) {
    t.same(refused(t, proxy(`ttl: ${ttl}`)), ['1 registry.proxy.ttl: a duration in hours, minutes and seconds such as 168h or 1h30m'], ttl)
  }
})

test('a ttl in Direct is refused with where it belongs', async t => {
  t.same(refused(t, direct('ttl: 168h')), ['1 registry.direct.ttl: a known setting (did you mean registry.proxy.ttl?)'])
})

test('an authority without TLS is refused in the words of the module', async t => {
  t.same(refused(t, direct('scheme: HTTP, ca: x')), ["1 registry.direct: CA is not allowed when scheme is 'HTTP'"])
})

test('a repository that could lead elsewhere is refused', async t => {
  const expected =
    '1 registry.direct.imagesRepo: host[:port][/path] such as registry.example.org/deckhouse/ee, port 1 to 65535, no . or .. in the path'
  const attacks = [
    '../../../etc/cron.d/x',
    'r/../x',
    'r/./x',
    'r/..',
    'r:0/x',
    'r:99999/x',
    'r:65536',
    'r:/x',
    'r//x',
    'r/x/',
    '/x',
    ' r',
    'r\\n',
    'r\\0',
    'r/x\\x7f'
  ]
  const notHosts = [
    'https://r/x',
    'u:p@r/x',
    'r?x',
    'r#x',
    'r..x',
    '.r',
    '-r',
    'r-',
    'r_x',
    '127.1',
    '0x7f.0x1',
    '999.0.0.1',
    '[::1]/x',
    'é/x',
    '%2e'
  ]
  for (const repo of [...attacks, ...notHosts]) t.same(refused(t, direct(`imagesRepo: "${repo}"`)), [expected], repo)
})

test('control characters in a user, a password and a license are refused, and the secrets not printed', async t => {
  t.same(refused(t, direct('username: "a\\r\\nb", password: p')), [
    '1 registry.direct.username: a user name of at most 255 characters, without colons and control characters'
  ])
  t.same(
    faultsOf(() => loaded(t, direct('username: u, password: "hunter2\\n"'))),
    [{ file: 'registry.yaml', line: 1, path: 'registry.direct.password', expected: 'a password: a text without control characters' }]
  )
  t.same(
    faultsOf(() => loaded(t, direct('license: "hunter2\\0"'))),
    [{ file: 'registry.yaml', line: 1, path: 'registry.direct.license', expected: 'a license: a text without control characters' }]
  )
})

test('a user with a colon is refused: Basic could not tell it from the password', async t => {
  t.match(refused(t, direct('username: "a:b", password: p')), [/^1 registry\.direct\.username: a user name/])
})

test('words outside the lists are refused', async t => {
  t.same(refused(t, direct('scheme: https, checkMode: Strict')), [
    '1 registry.direct.scheme: one of HTTP, HTTPS (did you mean HTTPS?)',
    '1 registry.direct.checkMode: one of Default, Relax'
  ])
  t.equal(loaded(t, direct('checkMode: Relax')).registry.upstream?.checkMode, 'Relax')
})

test('endpoints that are no hosts, or none at all, are refused', async t => {
  const expected = 'host or host:port such as 10.0.0.1:5001, port 1 to 65535'
  t.same(
    refused(t, direct('endpoints: ["http://a", "a:0", "a/b", "a:05"]')),
    [0, 1, 2, 3].map(i => `1 registry.direct.endpoints[${i}]: ${expected}`)
  )
  t.same(refused(t, direct('endpoints: []')), ['1 registry.direct.endpoints: a list of different hosts'])
})

test('several faults are reported at once, each with its line', async t => {
  const yaml = `registry:
  mode: Proxy
  direct:
    license: hunter2
    username: u
  proxy:
    imagesRepo: r/..
    password: hunter2
    ttl: 1m
    scheme: FTP
cache:
  tagTTL: soon
`
  const message = faultsOf(() => loaded(t, yaml)).map(({ line, rule, path }) => `${line} ${rule ?? path}`)
  t.same(message, [
    "3 registry: when mode is not 'Direct', 'direct' section must be omitted.",
    "3 registry.direct: 'password' is required when 'username' is provided.",
    "4 registry.direct: 'license' and 'username'/'password' are mutually exclusive.",
    "6 registry.proxy: 'username' is required when 'password' is provided.",
    '7 registry.proxy.imagesRepo',
    "9 registry.proxy: 'ttl' should be at least 5 minutes.",
    '10 registry.proxy.scheme',
    '12 cache.tagTTL'
  ])
})

test('a rule is one line of the message: file, line and the words of the ModuleConfig', async t => {
  const expected = "registry.yaml:1: registry: when mode is 'Direct', 'direct' section must be specified."
  t.throws(() => loaded(t, 'registry: { mode: Direct }'), { message: expected })
})

test('a password from a file that cannot be read is one fault, not also a missing password', async t => {
  t.same(refused(t, direct('username: u, passwordFile: none')), ['1 registry.direct.passwordFile: a readable file (ENOENT)'])
})
