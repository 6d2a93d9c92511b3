import { test } from 'tap'
import { readModuleConfig } from '../../../src/controller/settings/module-config.ts'
import { readRegistryConfig } from '../../../src/controller/settings/registry-config.ts'
import { certificate } from '../../support/certificate.ts'

const read = (registry: unknown, version: unknown = 1) =>
  readModuleConfig({ metadata: { generation: 3 }, spec: { version, settings: { registry } } })
const faultsOf = (registry: unknown) => {
  const found = read(registry)
  return 'faults' in found ? found.faults : []
}
const repo = { imagesRepo: 'r.example.org/ee' }

test('ModuleConfig: what is wrong is said in the words of Deckhouse’s own validation', async t => {
  const cases: [object, string[]][] = [
    [{ mode: 'Direct' }, ["registry: when mode is 'Direct', 'direct' section must be specified."]],
    [{ mode: 'Local', direct: repo }, ["registry: when mode is not 'Direct', 'direct' section must be omitted."]],
    [{ mode: 'Proxy' }, ["registry: when mode is 'Proxy', 'proxy' section must be specified."]],
    [{ mode: 'Unmanaged', proxy: repo }, ["registry: when mode is not 'Proxy', 'proxy' section must be omitted."]],
    [{ mode: 'Local', unmanaged: repo }, ["registry: when mode is not 'Unmanaged', 'unmanaged' section must be omitted."]],
    [{ mode: 'Direct', direct: { imagesRepo: '' } }, ["registry.direct: 'imagesRepo' is required."]],
    [{ mode: 'Unmanaged', unmanaged: { imagesRepo: '' } }, ["registry.unmanaged: 'imagesRepo' is required."]],
    [{ mode: 'Direct', direct: { ...repo, username: 'u' } }, ["registry.direct: 'password' is required when 'username' is provided."]],
    [{ mode: 'Proxy', proxy: { ...repo, password: 'p' } }, ["registry.proxy: 'username' is required when 'password' is provided."]],
    [
      { mode: 'Unmanaged', unmanaged: { ...repo, license: 'l', username: 'u', password: 'p' } },
      ["registry.unmanaged: 'license' and 'username'/'password' are mutually exclusive."]
    ],
    [{ mode: 'Proxy', proxy: { ...repo, ttl: '4m59s' } }, ["registry.proxy: 'ttl' should be at least 5 minutes."]],
    [
      { mode: 'Proxy', proxy: { ...repo, ttl: '7d' } },
      ['invalid ttl format "7d": does not match required pattern "^(?:(\\d+)h)?(?:(\\d+)m)?(?:(\\d+)s)?$"']
    ],
    [{ mode: 'Direct', direct: { ...repo, scheme: 'FTP' } }, ["Invalid scheme 'FTP'; expected 'HTTP' or 'HTTPS'"]],
    [{ mode: 'Direct', direct: { ...repo, checkMode: 'None' } }, ['unknown registry check mode: None']],
    [
      { mode: 'Direct', direct: { ...repo, ca: 'no PEM' } },
      ['failed to decode CA certificate: expected certificates in PEM and nothing else']
    ],
    [{ mode: 'Detached' }, ['Unknown registry mode: Detached']]
  ]
  for (const [registry, faults] of cases) t.same(faultsOf(registry), faults, JSON.stringify(registry))
})

test('ModuleConfig: hostile values reach no node', async t => {
  for (const imagesRepo of [
    '../../../etc/cron.d/x',
    'r.example.org:99999/a',
    'r.example.org/a/../b',
    'http://r.example.org',
    'a\nb',
    'r.example.org/$(id)'
  ])
    t.match(faultsOf({ mode: 'Direct', direct: { imagesRepo } }), [/'imagesRepo' is no repository/], imagesRepo)
  t.match(faultsOf({ mode: 'Direct', direct: { ...repo, username: 'a:b', password: 'p' } }), [/must not contain a colon/])
  t.match(faultsOf({ mode: 'Direct', direct: { ...repo, username: 'a\u0000', password: 'p' } }), [/'username' must be at most/])
  t.match(faultsOf({ mode: 'Direct', direct: { ...repo, license: 7 } }), [/'license' must be a text/])
  t.match(faultsOf({ mode: 'Direct', direct: { ...repo, ca: 'x'.repeat(300 * 1024) } }), [/'ca' is larger than 128 KiB/])
  t.match(faultsOf({ mode: 'Direct', direct: [] }), [/registry\.direct: expected a mapping/])
  t.match(faultsOf([]), [/registry: expected a mapping/])
})

test('ModuleConfig: another version is not guessed at', async t => {
  t.match(read({ mode: 'Local' }, 2), { generation: 3, faults: ['ModuleConfig deckhouse: expected spec.version 1, found 2'] })
})

test('ModuleConfig: without the object, the settings or the mode the cluster is not managed', async t => {
  const params = { mode: 'Unmanaged', checkMode: 'Default' }
  for (const object of [undefined, {}, { spec: { version: 1 } }, { spec: { version: 1, settings: { registry: {} } } }])
    t.same(readModuleConfig(object), { generation: 0, params })
})

test('ModuleConfig: a license is the password of license-token, and a CA is kept as its certificates', async t => {
  const { cert } = certificate(t)
  const found = read({
    mode: 'Proxy',
    proxy: { ...repo, imagesRepo: ' r.example.org:5000/ee/ ', license: 'L', ca: cert, ttl: '24h', checkMode: 'Relax' }
  })
  t.same(found, {
    generation: 3,
    params: {
      mode: 'Proxy',
      upstream: { imagesRepo: 'r.example.org:5000/ee', scheme: 'https', username: 'license-token', password: 'L', ca: cert },
      checkMode: 'Relax',
      ttl: '24h'
    }
  })
  t.match(read({ mode: 'Direct', direct: {} }), { params: { upstream: { imagesRepo: 'registry.deckhouse.io/deckhouse/ce' } } })
})

test('registry-config: what Deckhouse hands over is read as its ModuleConfig is', async t => {
  const account = { imagesRepo: 'r.example.org/ee', scheme: 'https', username: 'license-token', password: 'L', checkMode: 'Default' }
  const upstream = { imagesRepo: 'r.example.org/ee', scheme: 'https', username: 'license-token', password: 'L' }
  t.same(readRegistryConfig({ mode: 'Direct', ...account, raw_config: '…' }, 7), {
    generation: 7,
    params: { mode: 'Direct', upstream, checkMode: 'Default' }
  })
  t.same(readRegistryConfig({ mode: 'Local' }, 1), { generation: 1, params: { mode: 'Local', checkMode: 'Default' } })
  t.same(readRegistryConfig({ mode: 'Unmanaged' }, 1), { generation: 1, params: { mode: 'Unmanaged', checkMode: 'Default' } })
  t.match(readRegistryConfig({ mode: 'Unmanaged', ...account }, 1), { params: { mode: 'Unmanaged', upstream } })
})
