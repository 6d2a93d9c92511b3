// The conditions are read by people and by scripts: types, order, reasons and messages are those of Deckhouse's module.
import { test } from 'tap'
import { readMaterial } from '../../../src/controller/cluster/read-material.ts'
import { Conditions } from '../../../src/controller/machine/conditions.ts'
import { bashibleConfig } from '../../../src/controller/objects/bashible-config.ts'
import { decodeSecret } from '../../../src/kubernetes/object.ts'
import { FakeCluster, firstRepo } from './fake-cluster.ts'

const direct = { mode: 'Direct', direct: { imagesRepo: 'registry.deckhouse.ru/deckhouse/ee', scheme: 'HTTPS', license: 'LICENSE' } }

test('conditions: a switch to Direct and back to Unmanaged reads as in the documentation of the module', async t => {
  const cluster = new FakeCluster()
  cluster.want(direct)
  cluster.converge()
  t.same(
    cluster.conditions().map(({ type, status, reason, message }) => ({ type, status, reason, message })),
    [
      {
        type: 'RegistryContainsRequiredImages',
        status: 'True',
        reason: 'Ready',
        message: 'registry.deckhouse.ru: all 157 items are checked'
      },
      ...['ContainerdConfigPreflightReady', 'TransitionContainerdConfigReady', 'InClusterProxyReady', 'DeckhouseRegistrySwitchReady'].map(
        done
      ),
      ...['FinalContainerdConfigReady', 'Ready'].map(done)
    ]
  )
  t.match(cluster.outcome.state, { mode: 'Direct', target_mode: 'Direct' })
  t.match(
    decodeSecret(cluster.secrets.get('registry-state') ?? {})['conditions'],
    /^- lastTransitionTime: "2026-11-30T09:00:01Z"\n {2}message: "?registry\.deckhouse\.ru: all 157 items are checked"?\n {2}observedGeneration: 1\n {2}reason: Ready\n {2}status: "True"\n {2}type: RegistryContainsRequiredImages\n/
  )
  cluster.want({ mode: 'Unmanaged' })
  cluster.converge()
  t.match(cluster.condition('Ready'), { status: 'True', reason: '', message: '' })
  t.match(cluster.outcome.state, { mode: 'Unmanaged', target_mode: 'Unmanaged' })
  t.match(cluster.outcome.state.bashible.config, { mode: 'Unmanaged', imagesBase: 'registry.deckhouse.ru/deckhouse/ee' })
  cluster.secrets.delete('registry-bashible-config')
  cluster.settle()
  t.match(
    cluster.condition('FinalContainerdConfigReady')?.message,
    /^Applying configuration to nodes\n0\/5 node\(s\) ready\. Waiting:\n- master-0: "[0-9a-f]{15}…" → Unmanaged\n/
  )
  cluster.converge()
  t.notOk(cluster.secrets.has('registry-bashible-config'), 'a person has removed it: the nodes have the configuration of before')
  t.ok(cluster.nodes.every(({ applied }) => applied === undefined))
})

test('conditions: each step says what it waits for', async t => {
  const cluster = new FakeCluster(2, 10)
  for (const node of cluster.nodes.slice(0, 11)) node.containerd = 'custom'
  cluster.want({ mode: 'Proxy', proxy: direct.direct })
  const seen = new Map<string, string>()
  const look = () => {
    cluster.settle()
    const waiting = cluster.conditions().find(({ status, type }) => status === 'False' && type !== 'Ready')
    if (waiting) seen.set(`${waiting.type} ${seen.size}`, waiting.message)
    t.match(cluster.condition('Ready'), { status: 'False', reason: 'Processing', message: 'Transitioning to Proxy' })
  }
  look()
  cluster.runCheck()
  look()
  for (const node of cluster.nodes) node.containerd = 'default'
  look()
  const [first, second, ...others] = cluster.nodes
  if (!first || !second) throw new Error('no nodes')
  cluster.apply(second)
  first.ready = false
  look()
  first.ready = true
  cluster.apply(first)
  look()
  for (const node of others) cluster.apply(node)
  look()
  for (const node of cluster.nodes) cluster.apply(node)
  look()
  cluster.runDeckhouse()
  if (cluster.deckhouse) cluster.deckhouse.ready = false
  look()
  const version = cluster.outcome.nodeConfigs.get('master-0')?.version.slice(0, 15)
  const transition = cluster.nodes[0]?.applied?.version.slice(0, 15)
  t.same(
    [...seen],
    [
      ['RegistryContainsRequiredImages 0', 'Initializing'],
      [
        'ContainerdConfigPreflightReady 1',
        `Check current nodes configuration\n11/12 node(s) Unready:\n${[
          'master-0',
          'master-1',
          ...[0, 1, 2, 3, 4, 5, 6, 7].map(index => `worker-${index}`)
        ]
          .map(name => `- ${name}: has custom toml merge containerd configuration\n`)
          .join('')}\t...and 1 more\n`
      ],
      [
        'NodeServicesReady 2',
        `0/2 node(s) ready. Waiting:\n- master-0: services pod(s) is not Ready or config version mismatch (!= "${version}…")\n- master-1: services pod(s) is not Ready or config version mismatch (!= "${cluster.outcome.nodeConfigs.get('master-1')?.version.slice(0, 15)}…")\n`
      ],
      ['NodeServicesReady 3', '1/2 node(s) ready. Waiting:\n- master-0: node is not Ready\n'],
      ['TransitionContainerdConfigReady 4', 'Applying configuration to nodes\nCreating Managed configuration...\n'],
      [
        'TransitionContainerdConfigReady 5',
        `Applying configuration to nodes\n10/12 node(s) ready. Waiting:\n- master-0: "unknown" → "${transition}…"\n- master-1: "unknown" → "${transition}…"\n`
      ],
      ['DeckhouseRegistrySwitchReady 6', 'Updating registry for deckhouse components'],
      ['DeckhouseRegistrySwitchReady 7', 'Waiting for deckhouse-controller to become ready']
    ]
  )
  if (cluster.deckhouse) cluster.deckhouse.applied = ''
  look()
  t.match(cluster.condition('DeckhouseRegistrySwitchReady')?.message, 'Applying new registry to deckhouse-controller')
})

test('conditions: the time changes with the status alone, and what is set goes to the end', async t => {
  const at = (seconds: number) => Date.parse('2026-11-30T09:00:00Z') + seconds * 1000
  const first = new Conditions([], at(0))
  first.set({ type: 'NodeServicesReady', status: 'False', reason: 'Processing', message: 'a' })
  first.set({ type: 'Ready', status: 'False', reason: 'Processing', message: '' })
  const second = new Conditions([...first.list, { ...done('OfAnotherVersion'), lastTransitionTime: '2026-01-01T00:00:00Z' }], at(5.9))
  second.set({ type: 'NodeServicesReady', status: 'False', reason: 'Error', message: 'b' })
  second.dropUnknown()
  t.same(
    second.list.map(({ type, message, lastTransitionTime }) => [type, message, lastTransitionTime]),
    [
      ['Ready', '', '2026-11-30T09:00:00Z'],
      ['NodeServicesReady', 'b', '2026-11-30T09:00:00Z']
    ]
  )
  second.set({ type: 'NodeServicesReady', status: 'True', reason: '', message: '' })
  t.equal(second.find('NodeServicesReady')?.lastTransitionTime, '2026-11-30T09:00:05Z')
})

test('conditions: faulty settings change nothing, say why, and the switch goes on once they are mended', async t => {
  const cluster = new FakeCluster()
  cluster.want(direct)
  cluster.settle()
  cluster.act()
  const before = structuredClone({ secrets: [...cluster.secrets], deployments: [...cluster.deployments] })
  cluster.want({ mode: 'Direct' })
  cluster.settle()
  t.match(cluster.condition('Ready'), {
    status: 'False',
    reason: 'Error',
    message: "registry: when mode is 'Direct', 'direct' section must be specified."
  })
  const state = /^registry-state$/
  t.same(
    [...cluster.secrets].filter(([name]) => !state.test(name)),
    before.secrets.filter(([name]) => !state.test(name))
  )
  cluster.want(direct)
  cluster.converge()
  t.equal(cluster.outcome.state.mode, 'Direct')
})

test('conditions: clusters whose nodes are not static, and clusters being installed', async t => {
  const cluster = new FakeCluster()
  cluster.static = false
  for (const mode of ['Proxy', 'Local']) {
    cluster.want({ mode, ...(mode === 'Proxy' ? { proxy: direct.direct } : {}) })
    cluster.settle()
    t.match(cluster.condition('Ready'), {
      reason: 'Error',
      message: /Proxy and Local are unsupported for non-static clusters\. Please use other available modes\.$/
    })
  }
  t.notOk(cluster.secrets.has('registry-pki'))
  const young = new FakeCluster()
  young.bootstrapped = false
  young.want(direct)
  young.converge()
  young.want({ mode: 'Direct', direct: { ...direct.direct, license: 'ANOTHER' } })
  young.settle()
  t.match(young.condition('Ready'), {
    reason: 'Error',
    message: /is forbidden during cluster bootstrap\. Please wait until bootstrap is complete\.$/
  })
  young.bootstrapped = true
  young.converge()
  t.match(young.outcome.state.bashible.actual_params, { direct: { password: 'ANOTHER' } })
})

test('conditions: an upstream without an image holds the switch before anything changes', async t => {
  const cluster = new FakeCluster()
  cluster.upstreamBroken = true
  cluster.want(direct)
  for (let round = 0; round < 5; round++) {
    cluster.settle()
    cluster.act()
  }
  t.match(cluster.condition('RegistryContainsRequiredImages'), { status: 'False', reason: 'Processing', message: /with errors/ })
  t.same([...cluster.secrets.keys()].sort(), ['deckhouse-registry', 'registry-state'])
  cluster.upstreamBroken = false
  cluster.converge()
  t.equal(cluster.outcome.state.mode, 'Direct')
})

test('conditions: a new release is checked beside what runs, and counts once an image of it is missing', async t => {
  const cluster = new FakeCluster()
  cluster.want(direct)
  cluster.converge()
  cluster.requiredImages = 'images-2'
  cluster.settle()
  t.equal(cluster.isDone(), true, 'the check has just begun')
  cluster.upstreamBroken = true
  cluster.runCheck()
  cluster.settle()
  t.match(cluster.condition('RegistryContainsRequiredImages'), { status: 'False' })
  t.equal(cluster.isDone(), false)
  t.same(cluster.broken(), [])
  cluster.upstreamBroken = false
  cluster.converge()
})

test('conditions: a replica without an address is named, and a cluster without Deckhouse needs none', async t => {
  const cluster = new FakeCluster(1, 1)
  cluster.deckhouse = undefined
  cluster.want({ mode: 'Local' })
  cluster.converge()
  t.match(cluster.condition('DeckhouseRegistrySwitchReady'), { status: 'True', message: '' })
  t.match(cluster.condition('RegistryContainsRequiredImages'), { message: 'master-0: all 157 items are checked' })
  t.same(
    cluster.conditions().map(({ type }) => type),
    [
      'ContainerdConfigPreflightReady',
      'NodeServicesReady',
      'RegistryContainsRequiredImages',
      'TransitionContainerdConfigReady',
      'DeckhouseRegistrySwitchReady',
      'FinalContainerdConfigReady',
      'CleanupInClusterProxy',
      'Ready'
    ]
  )
})

test('transition: the old registry comes first, and a mirror of both has its new password', async t => {
  const upstream = { imagesRepo: 'r.example.org/a', scheme: 'https' as const, username: 'u', password: 'old' }
  const before = bashibleConfig({ direct: upstream }, { unmanaged: { ...upstream, imagesRepo: firstRepo } }, ['10.0.0.1:5001'])
  t.same(Object.keys(before.hosts), ['first.example.org', 'registry.d8-system.svc:5001'])
  t.notOk('proxyEndpoints' in before, 'no node needs a replica')
  const next = bashibleConfig({ direct: { ...upstream, password: 'new' } }, { direct: upstream }, [])
  t.match(next.hosts['registry.d8-system.svc:5001']?.mirrors, [{ auth: { password: 'new' } }])
  const toProxy = bashibleConfig({ proxy: { ca: 'CA', username: 'ro', password: 'p' } }, { direct: upstream }, [
    '10.0.0.2:5001',
    '10.0.0.1:5001'
  ])
  t.same(toProxy.proxyEndpoints, ['10.0.0.1:5001', '10.0.0.2:5001'])
  t.same(
    toProxy.hosts['registry.d8-system.svc:5001']?.mirrors.map(({ host }) => host),
    ['r.example.org', '127.0.0.1:5001']
  )
})

test('material: a broken or foreign Secret of a name of ours counts as none', async t => {
  const secret = (name: string, data: Record<string, string>) =>
    [name, { apiVersion: 'v1', kind: 'Secret', metadata: { name }, data }] as const
  const found = readMaterial(
    new Map([
      secret('registry-pki', { 'ca.crt': 'eA==' }),
      secret('registry-user-ro', { name: 'cm8=' }),
      secret('registry-node-config-m1', { config: Buffer.from('a: [').toString('base64') }),
      secret('registry-node-config-m2', { config: Buffer.from('7').toString('base64') }),
      secret('registry-incluster-proxy-config', {})
    ]),
    new Map([
      ['m1', '10.0.0.1'],
      ['m2', '10.0.0.2']
    ])
  )
  t.same(found, { users: {}, nodes: {} })
})

function done(type: string) {
  return { type, status: 'True' as const, reason: '' as const, message: '' }
}
