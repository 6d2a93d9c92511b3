import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { stringify } from 'yaml'
import {
  agentConfigDifference,
  agentLoader,
  agentNeedsRestart,
  loadAgentConfig,
  renderAgentConfig,
  settingsOf
} from '../../config/agent/load.ts'
import { poolIn } from '../../config/agent/pools.ts'
import { isAgentFile } from '../../config/agent/recognize.ts'
import { ConfigError } from '../../config/read/fault.ts'
import { authority } from './written.ts'

// What a person writes wrong at three in the morning: each fault is one line that says what was expected.

const replica = (address: string, more: object = {}) => ({ address, ...more })
const pool = (...addresses: string[]) => ({ replicas: addresses.map(each => replica(each)), scheme: 'HTTP' })
const route = (...pools: object[]) => ({ names: ['registry.d8-system.svc:5001'], pools })

function fileOf(t: Test, settings: object | string, more: Record<string, string> = {}): string {
  const folder = t.testdir(more)
  const file = join(folder, 'agent.yaml')
  writeFileSync(file, typeof settings === 'string' ? settings : stringify(settings))
  return file
}

function faultsOf(t: Test, agent: object, more: Record<string, string> = {}): string[] {
  const file = fileOf(t, { agent }, more)
  try {
    loadAgentConfig(file, { env: {} })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message.split('\n').map(line => line.replace(/^.*agent\.yaml:\d+: /, ''))
  }
  return []
}

test('the agent needs its routes alone; all else has a default', async t => {
  const { agent, log } = loadAgentConfig(fileOf(t, { agent: { routes: [route(pool('10.0.0.1:5001'))] } }), { env: {} })
  t.match(agent, {
    listen: { host: '127.0.0.1', port: 5001 },
    admin: { host: '127.0.0.1', port: 5003 },
    path: 'system/deckhouse',
    drain: 25_000
  })
  t.equal(log.level, 'info')
  const [settings] = agent.routes[0]?.pools ?? []
  t.match(settings && poolIn(settings), { kind: 'replicas', endpoints: ['http://10.0.0.1:5001'], local: [] })
})

test('a list of replicas that is empty, doubled or names the agent itself is refused', async t => {
  const of = (...pools: object[]) => faultsOf(t, { routes: [route(...pools)] })
  t.match(of({ replicas: [] }), [/agent\.routes\[0\]\.pools\[0\]\.replicas: expected a list of at least one replica such as/])
  t.same(of(pool('10.0.0.1:5001', '10.0.0.2:5001', '10.0.0.1:5001')), [
    'agent.routes[0].pools[0].replicas[2].address: expected every replica at most once, found "10.0.0.1:5001"'
  ])
  for (const own of ['127.0.0.1:5001', 'localhost:5001'])
    t.match(
      of(pool('10.0.0.2:5001', own)),
      [/replicas\[1\]\.address: expected a registry: this is the agent itself \(agent\.listen\)/],
      own
    )
  t.same(of(pool('127.0.0.1:5002', '127.0.0.2:5001', '10.0.0.1:5001')), [])
  t.match(of(), [/agent\.routes\[0\]\.pools: expected a list of at least one pool/])
  t.match(of({ scheme: 'HTTP' }), [/agent\.routes\[0\]\.pools\[0\]: expected either replicas or imagesRepo/])
  t.match(of({ ...pool('10.0.0.1:5001'), imagesRepo: 'a.example/b' }), [/pools\[0\]: expected either replicas or imagesRepo/])
})

test('an agent that other machines reach has TLS and a password', async t => {
  const listen = '0.0.0.0:5001'
  const expected = /agent\.listen: expected a loopback address, or agent\.tls and agent\.clients beside it/
  const routes = [route(pool('10.0.0.1:5001'))]
  const clients = { username: 'node', password: 'x' }
  const tls = { certificate: 'tls.crt', key: 'tls.key' }
  t.match(faultsOf(t, { listen, routes }), [expected])
  t.match(faultsOf(t, { listen, routes, clients }), [expected])
  t.same(faultsOf(t, { listen, routes, clients, tls }), [])
  t.match(faultsOf(t, { routes, admin: '127.0.0.1:5001' }), [/agent\.admin: expected another address than agent\.listen/])
})

test('misspelt settings are named with the one that is meant, and secrets are not printed', async t => {
  t.match(faultsOf(t, { routes: [{ ...route(pool('10.0.0.1:5001')), name: 'a' }] }), [
    /\.name: expected a known setting \(did you mean names\?\)/
  ])
  t.match(faultsOf(t, { routes: [route({ replicas: [replica('10.0.0.1:5001', { locale: true })] })] }), [/did you mean local\?/])
  const secret = 'the-secret-of-it'
  const faults = faultsOf(t, { clients: { username: 'node', passwrod: secret }, routes: [route(pool('10.0.0.1:5001'))] })
  t.match(faults, [/agent\.clients\.password: .*it is missing/, /passwrod: expected a known setting \(did you mean password\?\)/])
  t.notMatch(faults.join(), secret)
  t.match(faultsOf(t, { routes: [route({ ...pool('10.0.0.1:5001'), username: 'ro' })] }), [
    /'password' is required when 'username' is provided/
  ])
  t.match(faultsOf(t, { routes: [route(pool('10.0.0.1:99999'))] }), [/address: expected host or host:port such as 10\.0\.0\.1:5001/])
})

test('passwords, licences and authorities may be in files, and what is rendered has no secret', async t => {
  const files = { password: 'from-a-file\n', license: 'of-a-customer\n', 'ca.crt': authority }
  const agent = {
    clients: { username: 'node', passwordFile: 'password' },
    routes: [
      route(
        { replicas: [replica('10.0.0.1:5001', { local: true })], caFile: 'ca.crt', username: 'ro', passwordFile: 'password' },
        { imagesRepo: 'registry.example.org/deckhouse/ee', licenseFile: 'license' }
      )
    ]
  }
  const config = loadAgentConfig(fileOf(t, { agent }, files), { env: {} })
  t.equal(config.agent.clients?.password, 'from-a-file')
  const [replicas, beyond] = (config.agent.routes[0]?.pools ?? []).map(poolIn)
  t.match(replicas, { credentials: { username: 'ro', password: 'from-a-file' }, ca: /BEGIN CERTIFICATE/, local: ['https://10.0.0.1:5001'] })
  t.match(beyond, {
    host: 'registry.example.org',
    path: 'deckhouse/ee',
    credentials: { username: 'license-token', password: 'of-a-customer' }
  })
  t.notMatch(renderAgentConfig(config), /from-a-file|of-a-customer/)
  const again = loadAgentConfig(fileOf(t, settingsOf(config)), { env: {} })
  t.same(agentConfigDifference(config, again), [], 'the settings with their secrets load to the same')
})

test('the proxies of the environment count for pools beyond the cluster, and for replicas not', async t => {
  const env = { HTTPS_PROXY: 'http://proxy.example.org:3128', NO_PROXY: '.svc' }
  const proxyOf = (...pools: object[]) => loadAgentConfig(fileOf(t, { agent: { routes: [route(...pools)] } }), { env }).proxy
  t.same(proxyOf(pool('10.0.0.1:5001')), { http: '', https: '', none: '' })
  t.same(proxyOf({ imagesRepo: 'a.example/b' }), { http: '', https: 'http://proxy.example.org:3128', none: '.svc' })
})

test('a file that is read again and again is parsed only when it changed, or a file that it names', async t => {
  const folder = t.testdir({ password: 'one\n' })
  const file = join(folder, 'agent.yaml')
  const write = (drain: string) => {
    const clients = { username: 'node', passwordFile: 'password' }
    writeFileSync(file, stringify({ agent: { drain, clients, routes: [route(pool('10.0.0.1:5001'))] } }))
  }
  write('25s')
  const load = agentLoader(file, { env: {} })
  load()
  const settled = load()
  t.equal(load(), settled, 'the same object: nothing was parsed')
  writeFileSync(join(folder, 'password'), 'two\n')
  t.equal(load().agent.clients?.password, 'two')
  write('7s')
  t.equal(load().agent.drain, 7_000)
  writeFileSync(file, 'agent: {')
  t.throws(load, ConfigError)
  t.throws(load, ConfigError, 'each time')
  write('8s')
  t.equal(load().agent.drain, 8_000)
})

test('the addresses of the ports and the files of TLS need a restart, routes and the password do not', async t => {
  const load = (agent: object) => loadAgentConfig(fileOf(t, { agent: { routes: [route(pool('10.0.0.1:5001'))], ...agent } }), { env: {} })
  const changed = (agent: object) => agentConfigDifference(load({}), load(agent))
  t.same(changed({ listen: '127.0.0.1:5009' }), ['agent.listen'])
  t.same(agentNeedsRestart(['agent.listen', 'agent.admin', 'agent.tls.key', 'agent.connections']).length, 4)
  t.same(changed({ routes: [route(pool('10.0.0.2:5001'))] }), ['agent.routes'])
  t.same(agentNeedsRestart(['agent.routes', 'agent.clients.password', 'agent.path', 'agent.drain', 'log.level']), [])
})

test('a file of the agent is told from one of a registry by its section, and what cannot be read is neither', async t => {
  t.equal(isAgentFile(fileOf(t, { agent: {} })), true)
  t.equal(isAgentFile(fileOf(t, { registry: { mode: 'Local' } })), false)
  t.equal(isAgentFile(fileOf(t, 'agent: [')), false)
  t.equal(isAgentFile(join(t.testdir(), 'absent.yaml')), false)
})
