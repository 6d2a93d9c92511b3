import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../../config/load.ts'
import { faultsOf, folder, loaded } from './written.ts'

test('without a file the defaults are a Local registry on loopback that is open to everybody there', async t => {
  t.same(loadConfig({ env: {}, cwd: folder(t) }), {
    registry: { mode: 'Local', upstreams: {} },
    server: {
      listen: { host: '127.0.0.1', port: 5001 },
      names: ['registry.d8-system.svc:5001'],
      path: 'system/deckhouse',
      admin: { host: '127.0.0.1', port: 5002 },
      control: '/opt/deckhouse/registry/.registry/control.sock',
      forwarders: [],
      drain: 25_000
    },
    storage: { filesystem: { root: '/opt/deckhouse/registry' }, reserve: { percent: 10 }, inodeReserve: { percent: 5 } },
    auth: { anonymous: ['pull', 'push', 'delete'] },
    limits: {
      manifestBytes: 4_194_304,
      strictSizes: false,
      uploadIdle: 86_400_000,
      minimumRate: { bytes: 1024, per: 30_000 },
      connections: 4096,
      uploads: 512
    },
    cache: { tagTTL: 60_000, onUpstreamNotFound: 'serve', negativeTTL: 10_000, metadataTTL: 5_000, pin: [] },
    gc: { grace: 3_600_000, every: 86_400_000 },
    scrub: { every: 30 * 24 * 3_600_000 },
    upstream: {
      connections: 64,
      connectTimeout: 5000,
      headerTimeout: 20_000,
      bodyTimeout: 60_000,
      fills: 64,
      tokenHosts: [],
      redirectHosts: []
    },
    log: { audit: 'stdout', level: 'info' }
  })
})

test('a file changes what it names and leaves the other defaults', async t => {
  const config = loaded(t, 'limits: { manifestBytes: 8MiB, minimumRate: { per: 1m } }')
  t.same(config.limits, {
    manifestBytes: 8_388_608,
    strictSizes: false,
    uploadIdle: 86_400_000,
    minimumRate: { bytes: 1024, per: 60_000 },
    connections: 4096,
    uploads: 512
  })
  t.equal(config.log.level, 'info')
})

test('limits of bytes per second are absent until they are set, in bytes or with a unit, and not below what a client has to move', async t => {
  const config = loaded(t, 'storage: { filesystem: { writeLimit: 50MiB } }\nlimits: { egress: 1GB, upstream: 1024 }')
  t.equal(config.storage.filesystem.writeLimit, 52_428_800)
  t.match(config.limits, { egress: 1e9, upstream: 1024 })
  const faults = faultsOf(() => loaded(t, 'storage: { filesystem: { writeLimit: 0 } }\nlimits: { egress: 1023, upstream: fast }'))
  t.same(
    faults.map(each => each.path),
    ['storage.filesystem.writeLimit', 'limits.egress', 'limits.upstream']
  )
})

test('the environment names the file when the command line does not', async t => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'a.yaml'), 'log: { level: debug }')
  writeFileSync(join(cwd, 'b.yaml'), 'log: { level: warn }')
  t.equal(loadConfig({ cwd, env: { REGISTRY_CONFIG: 'a.yaml' } }).log.level, 'debug')
  t.equal(loadConfig({ cwd, env: { REGISTRY_CONFIG: 'a.yaml' }, file: 'b.yaml' }).log.level, 'warn')
  t.equal(loadConfig({ cwd, env: { REGISTRY_CONFIG: '' } }).log.level, 'info')
})

test('relative paths start at the folder of the file, not at the working directory', async t => {
  const cwd = folder(t)
  mkdirSync(join(cwd, 'etc'))
  const yaml =
    'storage: { filesystem: { root: ../store } }\nserver: { tls: { certificate: a.crt, key: a.key } }\nauth: { users: { file: htpasswd } }'
  writeFileSync(join(cwd, 'etc/registry.yaml'), yaml)
  const config = loadConfig({ file: 'etc/registry.yaml', cwd, env: {} })
  t.equal(config.storage.filesystem.root, join(cwd, 'store'))
  t.same(config.server.tls, { certificate: join(cwd, 'etc/a.crt'), key: join(cwd, 'etc/a.key') })
  t.same(config.auth.users, { file: join(cwd, 'etc/htpasswd'), roles: {} })
})

test('the control socket is in the root unless it is named', async t => {
  t.equal(loaded(t, 'storage: { filesystem: { root: /r } }').server.control, '/r/.registry/control.sock')
  t.equal(loaded(t, 'server: { control: /run/registry.sock }').server.control, '/run/registry.sock')
})

test('the effective configuration is frozen in its depth', async t => {
  const config = loaded(t, 'auth: { users: { file: h, roles: { ro: [pull] } } }')
  t.ok(Object.isFrozen(config) && Object.isFrozen(config.limits.minimumRate))
  t.ok(Object.isFrozen(config.server.names) && Object.isFrozen(config.auth.users?.roles['ro']))
})

test('two loads of the defaults share nothing', async t => {
  const cwd = folder(t)
  t.not(loadConfig({ env: {}, cwd }).server.names, loadConfig({ env: {}, cwd }).server.names)
})

test('a user called like a method of objects has no role', async t => {
  const roles = loaded(t, 'auth: { users: { file: h, roles: { ro: [pull] } } }').auth.users?.roles
  t.same(roles?.['ro'], ['pull'])
  t.equal(roles?.['constructor'], undefined)
  t.equal(roles?.['toString'], undefined)
})

test('a written auth section allows nothing to anonymous unless it says so', async t => {
  t.same(loaded(t, 'auth: {}').auth, { anonymous: [] })
  t.same(loaded(t, 'auth: { anonymous: [pull] }').auth, { anonymous: ['pull'] })
})

test('port 0 is accepted for both ports', async t => {
  const { server } = loaded(t, 'server: { listen: "127.0.0.1:0", admin: "127.0.0.1:0" }')
  t.same([server.listen.port, server.admin.port], [0, 0])
})

test('an anchor and its alias are read as two values', async t => {
  const { server } = loaded(t, 'server: { names: &n [a, b], forwarders: [] }\nlog: { level: info }\nauth: { anonymous: [] }')
  t.same(server.names, ['a', 'b'])
  const twice = loaded(t, 'auth: { users: { file: h, roles: { a: &ro [pull], b: *ro } } }')
  t.same(twice.auth.users?.roles['b'], ['pull'])
})

test('a file that cannot be read is one fault that says why', async t => {
  const cwd = folder(t)
  const [fault, ...others] = faultsOf(() => loadConfig({ file: 'none.yaml', cwd, env: {} }))
  t.same(fault, { file: 'none.yaml', line: 0, path: '', expected: 'a readable file (ENOENT)' })
  t.same(others, [])
  t.match(faultsOf(() => loadConfig({ file: cwd, env: {} }))[0], { expected: 'a readable file (EISDIR)' })
})

test('a file that is not UTF-8 or is over 1 MiB is refused', async t => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'latin.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xe9]))
  writeFileSync(join(cwd, 'large.yaml'), `# ${'x'.repeat(1_048_576)}`)
  t.match(faultsOf(() => loadConfig({ file: 'latin.yaml', cwd, env: {} }))[0], { expected: 'a readable file (not UTF-8)' })
  t.match(faultsOf(() => loadConfig({ file: 'large.yaml', cwd, env: {} }))[0], { expected: 'a readable file (longer than 1048576 bytes)' })
})
