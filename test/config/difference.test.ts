import { test } from 'tap'
import { configDifference, needRestart, restartRequired } from '../../config/difference.ts'
import { loadConfig } from '../../config/load.ts'
import { isMapping } from '../../config/read/walk.ts'
import { authority, loaded } from './written.ts'

test('the same configuration has no difference, however it was written', async t => {
  const one = loaded(
    t,
    'storage: { filesystem: { root: /r } }\nlimits: { uploadIdle: 1h }\nregistry: { mode: Direct, direct: { license: x } }'
  )
  const two = loaded(
    t,
    'registry: { direct: { username: license-token, password: x }, mode: Direct }\nlimits: { uploadIdle: 60m }\nstorage: { filesystem: { root: /r } }'
  )
  t.same(configDifference(one, two), [])
})

test('a changed secret is named and not shown', async t => {
  const old = loaded(
    t,
    'registry: { mode: Proxy, proxy: { username: u, password: hunter2 }, upstreams: { quay.io: { license: hunter2 } } }'
  )
  const changed = loaded(
    t,
    'registry: { mode: Proxy, proxy: { username: u, password: hunter3 }, upstreams: { quay.io: { license: hunter3 } } }'
  )
  t.same(configDifference(old, changed), ['registry.proxy.password', 'registry.upstreams["quay.io"].password'])
})

test('a changed authority, password of a proxy and list are each named', async t => {
  const old = loaded(t, `registry: { mode: Direct, direct: {} }\nupstream: { proxy: { http: "http://u:a@p" } }`)
  const changed = loaded(
    t,
    `registry: { mode: Direct, direct: { ca: ${JSON.stringify(authority)} } }\nupstream: { proxy: { http: "http://u:b@p" } }\nserver: { names: [a, b] }`
  )
  t.same(configDifference(old, changed), ['registry.direct.ca', 'server.names', 'upstream.proxy.http'])
})

test('another mode changes the mode and its sections', async t => {
  const old = loaded(t, 'registry: { mode: Direct, direct: {} }')
  t.same(configDifference(old, loaded(t, 'registry: { mode: Proxy, proxy: {} }')), ['registry.mode', 'registry.direct', 'registry.proxy'])
  t.same(configDifference(old, loaded(t, 'registry: { mode: Local }')), ['registry.mode', 'registry.direct'])
})

test('the role of a user called like a method of objects is a difference as any other', async t => {
  const users = (roles: string) => loaded(t, `auth: { users: { file: /h, roles: { ${roles} } } }`)
  t.same(configDifference(users(''), users('constructor: [pull]')), ['auth.users.roles.constructor'])
})

test('settings that need a restart are distinguished from others', async t => {
  const old = loaded(t, 'server: { listen: "127.0.0.1:1" }')
  const changed = loaded(
    t,
    'server: { listen: "127.0.0.1:3", names: [a], tls: { certificate: /c, key: /k } }\nstorage: { filesystem: { root: /r } }\nlimits: { connections: 1 }\nlog: { level: warn }'
  )
  t.same(needRestart(configDifference(old, changed)), [
    'server.listen',
    'server.control',
    'server.tls',
    'storage.filesystem.root',
    'limits.connections'
  ])
})

test('a setting whose name only begins like one of them is not one of them', async t => {
  t.same(needRestart(['server.listener', 'limitsOfOurs', 'registry.mode', 'server.names']), [])
})

test('every setting that needs a restart is there', async t => {
  const config = loadConfig({ env: {} })
  for (const path of restartRequired.filter(each => !['server.tls', 'server.adminTLS', 'storage.s3'].includes(each))) {
    t.ok(
      path.split('.').reduce<unknown>((part, key) => (isMapping(part) ? part[key] : undefined), config),
      path
    )
  }
})
