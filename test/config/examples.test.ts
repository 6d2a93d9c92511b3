import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { test } from 'tap'
import { loadAgentConfig } from '../../config/agent/load.ts'
import { poolIn } from '../../config/agent/pools.ts'
import { loadConfig } from '../../config/load.ts'
import { compileGrants, isGranted } from '../../src/access/grants.ts'

const examples = join(import.meta.dirname, '../../config/examples')
const load = (name: string) => loadConfig({ file: join(examples, name), env: {} })

test('every example loads and names its schema for editors', async t => {
  const names = readdirSync(examples).filter(name => name !== 'agent.yaml')
  t.same(names.toSorted(), ['direct.yaml', 'local.yaml', 'open-pulls.yaml', 'proxy.yaml', 'quickstart.yaml', 's3.yaml'])
  for (const name of names) {
    t.doesNotThrow(() => load(name), name)
    t.ok(readFileSync(join(examples, name), 'utf8').startsWith('# yaml-language-server: $schema=../registry.schema.json\n'), name)
  }
})

test('the example of an agent loads, names its schema for editors, and has one route with two pools', async t => {
  const file = join(examples, 'agent.yaml')
  const { agent } = loadAgentConfig(file, { env: {} })
  t.equal(agent.routes.length, 1)
  const [replicas, beyond] = (agent.routes[0]?.pools ?? []).map(poolIn)
  t.match(replicas, { kind: 'replicas', local: ['https://10.0.0.1:5001'], credentials: { username: 'ro' } })
  t.match(beyond, { kind: 'imagesRepo', host: 'registry.deckhouse.io', path: 'deckhouse/ee', credentials: { username: 'license-token' } })
  t.ok(readFileSync(file, 'utf8').startsWith('# yaml-language-server: $schema=../agent.schema.json\n'))
})

test('the examples of docs/s3.md load', t => {
  const page = readFileSync(join(examples, '../../docs/s3.md'), 'utf8')
  const blocks = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, text = '']) => text)
  t.equal(blocks.length, 3)
  for (const text of blocks) {
    // Where the page names a file, there is one.
    const written = text.replace('/etc/registry/pki/', '')
    const folder = t.testdir({ 'registry.yaml': written, 's3-ca.crt': rootCertificates[0] ?? '' })
    t.equal(loadConfig({ file: join(folder, 'registry.yaml'), env: {} }).storage.s3?.bucket, 'registry')
  }
  t.end()
})

test('the quickstart example is open, on loopback, with its content in the folder of the project', async t => {
  const { server, storage, auth } = load('quickstart.yaml')
  t.same(server.listen, { host: '127.0.0.1', port: 5001 })
  t.same(auth, { anonymous: ['pull', 'push', 'delete'] })
  t.equal(storage.filesystem.root, join(examples, '../../data'))
})

test('what the local example calls a default is the default', async t => {
  const config = load('local.yaml')
  const defaults = loadConfig({ env: {} })
  t.same(config.limits, defaults.limits)
  t.same(config.storage, defaults.storage)
  t.same([config.registry, config.log], [defaults.registry, defaults.log])
  const { listen: _listen, tls: _tls, forwarders: _forwarders, ...server } = config.server
  t.match(defaults.server, server)
})

test('the local example serves TLS to users with roles and nothing to anonymous', async t => {
  const { server, auth } = load('local.yaml')
  t.ok(server.tls?.clientCA)
  t.same(auth.users?.roles['ro'], ['pull'])
  t.same(auth.anonymous, [])
})

test('the example of open pulls gives all clients the pulls, and users with a password the rest', async t => {
  const { auth, registry } = load('open-pulls.yaml')
  t.same(auth.anonymous, ['pull'])
  t.same(auth.users?.roles, { build: ['push'], admin: ['push', 'delete'] })
  t.same(auth.tokens?.keys, ['/etc/registry/pki/token.key'], 'for docker')
  t.equal(registry.mode, 'Local')
})

test('the s3 example has a bucket, and what it calls a default is the default', async t => {
  const { storage, cache, server } = load('s3.yaml')
  t.match(storage.s3, { bucket: 'registry', prefix: 'clusters/one', credentials: { file: '/etc/registry/s3-credentials' } })
  t.match(storage.s3, { region: 'us-east-1', partBytes: 16 * 2 ** 20, spool: '/var/tmp/deckhouse-registry', spoolBytes: 4 * 2 ** 30 })
  t.equal(storage.s3?.redirect, undefined)
  t.equal(server.control, '/var/tmp/deckhouse-registry/control.sock')
  t.equal(cache.metadataTTL, loadConfig({ env: {} }).cache.metadataTTL)
})

test('the direct example has one upstream, with a license, behind a proxy', async t => {
  const { registry, upstream } = load('direct.yaml')
  t.equal(registry.mode, 'Direct')
  t.match(registry.upstream, { host: 'registry.deckhouse.io', path: 'deckhouse/ee', credentials: { username: 'license-token' } })
  t.same(upstream.proxy, { https: 'http://proxy.example.org:3128', none: '.svc,10.0.0.0/8' })
})

test('the proxy example has further registries, by what stands in the images', async t => {
  const { registry } = load('proxy.yaml')
  t.equal(registry.mode, 'Proxy')
  t.same(Object.keys(registry.upstreams), ['docker.io', 'quay.io', 'ghcr.io:443'])
  t.same(registry.upstreams['docker.io']?.endpoints, ['https://registry-1.docker.io'])
})

test('the proxy example gives nothing to anonymous, and a node what it is granted, not all that the passwords there open', async t => {
  const { auth, registry } = load('proxy.yaml')
  t.same(auth.anonymous, [])
  const { nodes = [], ops = [] } = auth.users?.roles ?? {}
  const upstreams = Object.keys(registry.upstreams)
  const granted = (role: typeof nodes) => {
    const grants = compileGrants(role)
    return [isGranted(grants, 'pull', 'system/deckhouse'), ...upstreams.map(host => isGranted(grants, 'pull', 'library/a', host))]
  }
  t.same(granted(nodes), [true, true, false, false])
  t.same(granted(ops), [true, true, true, true])
})

test('what the direct and the proxy example call a default is the default', async t => {
  const defaults = loadConfig({ env: {} })
  const { proxy: _proxy, ...upstream } = load('direct.yaml').upstream
  t.same(upstream, defaults.upstream)
  t.same(load('direct.yaml').registry.upstream?.checkMode, 'Default')
  const proxy = load('proxy.yaml')
  t.same([proxy.cache, proxy.upstream, proxy.storage], [defaults.cache, defaults.upstream, defaults.storage])
  t.equal(proxy.registry.upstream?.ttl, 168 * 3_600_000)
})
