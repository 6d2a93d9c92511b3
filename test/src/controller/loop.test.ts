// The controller as it runs: real requests, watches, certificates and checks; the API server is the fake one of the
// tests, and what nodes and Deckhouse do is done by the test.
import { X509Certificate } from 'node:crypto'
import { pino } from 'pino'
import { type Test, test } from 'tap'
import { parse } from 'yaml'
import { startController } from '../../../src/app/controller/start.ts'
import type { Condition } from '../../../src/controller/machine/conditions.ts'
import { hashOfRegistry } from '../../../src/controller/objects/deckhouse-registry.ts'
import { decodeSecret, encodeSecret, type KubernetesObject } from '../../../src/kubernetes/object.ts'
import { lineOptions } from '../../../src/telemetry/log.ts'
import { FakeApi } from '../../support/kubernetes-api.ts'
import { startUpstream } from '../../support/upstream.ts'

const namespace = 'd8-system'
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 20))
}

/** A cluster whose nodes and Deckhouse do what they are told, as soon as they are. */
class LiveCluster {
  readonly api: FakeApi
  readonly stuck = new Set<string>()
  #busy = false

  constructor(api: FakeApi) {
    this.api = api
    for (const name of ['m1', 'm2', 'w1']) this.#putNode(name)
    api.onWrite = () => setImmediate(() => this.follow())
  }

  settings(registry: object): void {
    this.api.put({
      apiVersion: 'deckhouse.io/v1alpha1',
      kind: 'ModuleConfig',
      metadata: { name: 'deckhouse' },
      spec: { version: 1, enabled: true, settings: { registry } }
    })
  }

  follow(): void {
    if (this.#busy) return
    this.#busy = true
    for (const name of ['m1', 'm2', 'w1']) if (!this.stuck.has(name)) this.#apply(name)
    const proxy = this.api.get('Deployment', 'registry-incluster-proxy')
    if (proxy) this.api.put({ ...proxy, status: { observedGeneration: 99, replicas: 2, updatedReplicas: 2, availableReplicas: 2 } })
    this.#busy = false
  }

  condition(type: string): Condition | undefined {
    const text = decodeSecret(this.api.get('Secret', 'registry-state') ?? {})['conditions'] ?? ''
    return ((parse(text) ?? []) as Condition[]).find(each => each.type === type)
  }

  isIn(mode: string): boolean {
    const { mode: reached, target_mode: target } = decodeSecret(this.api.get('Secret', 'registry-state') ?? {})
    return reached === mode && target === mode && this.condition('Ready')?.status === 'True'
  }

  #putNode(name: string, annotations: Record<string, string> = {}): void {
    const labels = {
      'node.deckhouse.io/containerd-config-registry': 'default',
      ...(name.startsWith('m') ? { 'node-role.kubernetes.io/control-plane': '' } : {})
    }
    this.api.put({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels, annotations },
      status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], conditions: [{ type: 'Ready', status: 'True' }] }
    })
  }

  #apply(name: string): void {
    const told = this.api.get('Secret', 'registry-bashible-config')
    const version = told && (parse(decodeSecret(told)['config'] ?? '') as { version: string }).version
    const services = this.api.get('Secret', `registry-node-config-${name}`)
    const running = services && decodeSecret(services)['version']
    this.#putNode(name, {
      ...(version ? { 'registry.deckhouse.io/version': version } : {}),
      ...(running ? { 'registry.deckhouse.io/services-version': running } : {})
    })
    const pod = `registry-nodeservices-${name}`
    if (!running) {
      this.api.delete('Pod', pod)
      return
    }
    this.api.put({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: pod, namespace, labels: { component: 'registry-service', type: 'node-services' } },
      spec: { nodeName: name },
      status: { conditions: [{ type: 'Ready', status: 'True' }] }
    })
  }
}

async function scene(
  t: Test
): Promise<{ api: FakeApi; cluster: LiveCluster; start: () => ReturnType<typeof startController>; log: string[] }> {
  const api = await FakeApi.start(t)
  const log: string[] = []
  const start = async () => {
    const controller = await startController(
      { access: { server: api.url }, image: 'registry:test', admin: { host: '127.0.0.1', port: 0 }, static: true },
      pino({ ...lineOptions, level: 'info' }, { write: (line: string) => void log.push(line) })
    )
    t.teardown(() => controller.stop())
    return controller
  }
  return { api, cluster: new LiveCluster(api), start, log }
}

const proxyTo = (host: string) => ({ mode: 'Proxy', proxy: { imagesRepo: `${host}/deckhouse/ee`, scheme: 'HTTP' } })

test('controller: a ModuleConfig is edited, and the cluster is switched; every write is one that was needed', async t => {
  const { api, cluster, start } = await scene(t)
  const upstream = await startUpstream(t)
  const { host } = new URL(upstream.url)
  upstream.addImage('deckhouse/ee', 'v1')
  api.put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'registry-required-images', namespace }, data: { list: ':v1\n' } })
  const controller = await start()
  cluster.settings({ mode: 'Direct', direct: { imagesRepo: `${host}/deckhouse/ee`, scheme: 'HTTP' } })
  await until(() => cluster.isIn('Direct'))
  t.match(cluster.condition('RegistryContainsRequiredImages'), { message: `${host}: all 1 items are checked` })
  t.ok(api.get('Deployment', 'registry-incluster-proxy'))
  t.ok(api.get('PodDisruptionBudget', 'registry-incluster-proxy'))
  cluster.settings(proxyTo(host))
  await until(() => cluster.isIn('Proxy'))
  t.notOk(api.get('Deployment', 'registry-incluster-proxy'))
  await until(() => !api.get('PodDisruptionBudget', 'registry-incluster-proxy'))
  const { config = '' } = decodeSecret(api.get('Secret', 'registry-node-config-m1') ?? {})
  const {
    ca,
    distribution_cert: certificate,
    user_ro: user
  } = parse(config) as { ca: string; distribution_cert: string; user_ro: { password: string } }
  t.ok(new X509Certificate(certificate).verify(new X509Certificate(ca).publicKey))
  t.match(user.password, /^[A-Za-z0-9]{16}$/)
  const writes = api.requests.filter(({ method }) => method !== 'GET').length
  cluster.follow()
  const lease = () => api.requests.filter(({ method, path }) => method === 'PUT' && path.includes('leases')).length
  const renewals = lease()
  await until(() => lease() > renewals)
  t.same(
    api.requests.filter(({ method, path }) => method !== 'GET' && !path.includes('leases')).length,
    writes - renewals - 1,
    'and then none'
  )
  const metrics = await (await fetch(`http://${controller.address}/metrics`)).text()
  t.match(metrics, /registry_controller_leader 1\n/)
  t.match(metrics, /registry_controller_nodes\{state="behind"\} 0/)
  t.match(metrics, /registry_controller_condition_transition_timestamp_seconds\{type="Ready",status="True"\} \d+/)
  t.equal((await fetch(`http://${controller.address}/readyz`)).status, 200)
})

test('controller: one node that is late holds the switch, is named, and nothing is taken from it', async t => {
  const { api, cluster, start } = await scene(t)
  const upstream = await startUpstream(t)
  const { host } = new URL(upstream.url)
  cluster.settings(proxyTo(host))
  await start()
  await until(() => cluster.isIn('Proxy'))
  cluster.stuck.add('w1')
  cluster.settings({ mode: 'Direct', direct: { imagesRepo: `${host}/deckhouse/ee`, scheme: 'HTTP' } })
  const waitsForIt = /^Applying configuration to nodes\n2\/3 node\(s\) ready\. Waiting:\n- w1: "/
  await until(() => waitsForIt.test(cluster.condition('TransitionContainerdConfigReady')?.message ?? ''))
  t.ok(api.get('Secret', 'registry-node-config-m1'))
  cluster.stuck.clear()
  cluster.follow()
  await until(() => cluster.isIn('Direct'))
  await until(() => !api.get('Secret', 'registry-node-config-m1'))
})

test('controller: it is stopped in the middle of a switch, and its successor ends it', async t => {
  const { api, cluster, start } = await scene(t)
  const upstream = await startUpstream(t)
  const first = await start()
  cluster.stuck.add('w1')
  cluster.settings(proxyTo(new URL(upstream.url).host))
  await until(() => /- w1: /.test(cluster.condition('TransitionContainerdConfigReady')?.message ?? ''))
  await first.stop()
  const users = api.get('Secret', 'registry-user-ro')
  cluster.stuck.clear()
  cluster.follow()
  await start()
  await until(() => cluster.isIn('Proxy'))
  t.same(api.get('Secret', 'registry-user-ro')?.data, users?.data, 'with the same passwords')
})

test('controller: conflicts, throttling, a missing right and cut watches delay a switch and change nothing else', async t => {
  const { api, cluster, start, log } = await scene(t)
  const upstream = await startUpstream(t)
  api.faults.push(
    { when: ({ method, path }) => method === 'PATCH' && path.includes('registry-state'), status: 409, reason: 'Conflict', times: 2 },
    { when: ({ method, path }) => method === 'POST' && path.endsWith('/secrets'), status: 429, retryAfter: 0.01, times: 3 },
    {
      when: ({ method, path }) => method === 'POST' && path.endsWith('/services'),
      status: 403,
      reason: 'Forbidden',
      message: 'services is forbidden: User "c" cannot create resource "services"',
      times: 1
    }
  )
  cluster.settings(proxyTo(new URL(upstream.url).host))
  await start()
  await until(() => api.watches >= 8)
  api.cutWatches()
  await until(() => cluster.isIn('Proxy'))
  t.match(log.join(''), /User \\"c\\" cannot create resource \\"services\\"/)
})

test('controller: an unreadable state, a lost state and a lost ModuleConfig change nothing and are named', async t => {
  const { api, cluster, start, log } = await scene(t)
  const upstream = await startUpstream(t)
  const { host } = new URL(upstream.url)
  cluster.settings(proxyTo(host))
  const first = await start()
  await until(() => cluster.isIn('Proxy'))
  const all = () =>
    JSON.stringify(
      ['Secret', 'Service', 'Deployment'].flatMap(kind => api.all(kind)).filter(({ metadata: { name } }) => name !== 'registry-state')
    )
  const before = all()
  api.delete('ModuleConfig', 'deckhouse')
  await until(() => cluster.condition('Ready')?.status === 'False')
  t.match(cluster.condition('Ready')?.message, /^ModuleConfig deckhouse is gone\. Create it /)
  cluster.settings(proxyTo(host))
  await until(() => cluster.isIn('Proxy'))
  await first.stop()
  const state = api.get('Secret', 'registry-state') as KubernetesObject
  api.put({ ...state, data: { ...state.data, ...encodeSecret({ state: 'a: [' }) } })
  cluster.settings({ mode: 'Direct', direct: { imagesRepo: host, scheme: 'HTTP' } })
  const second = await start()
  await until(() => /the key state cannot be read/.test(log.join('')))
  await second.stop()
  api.delete('Secret', 'registry-state')
  const third = await start()
  await until(() => /registry-state is gone though/.test(log.join('')))
  await third.stop()
  t.equal(all(), before)
})

test('controller: Deckhouse is led to the registry, and waited for', async t => {
  const { api, cluster, start } = await scene(t)
  const upstream = await startUpstream(t)
  const foreign = {
    address: 'old.example.org',
    path: '/ee',
    scheme: 'https',
    '.dockerconfigjson': '{}',
    imagesRegistry: 'old.example.org/ee',
    clusterIsBootstrapped: 'true'
  }
  api.put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'deckhouse-registry', namespace },
    type: 'kubernetes.io/dockerconfigjson',
    data: encodeSecret(foreign)
  })
  api.put({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'deckhouse', namespace } })
  api.put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'd8-cluster-is-bootstraped', namespace: 'kube-system' } })
  cluster.settings(proxyTo(new URL(upstream.url).host))
  await start()
  await until(() => cluster.condition('DeckhouseRegistrySwitchReady')?.message === 'Applying new registry to deckhouse-controller')
  const {
    address = '',
    path = '',
    scheme = '',
    ca = '',
    '.dockerconfigjson': dockerConfig = '',
    ...others
  } = decodeSecret(api.get('Secret', 'deckhouse-registry') ?? {})
  t.same([address, path, scheme], ['registry.d8-system.svc:5001', '/system/deckhouse', 'https'])
  t.same(others, { imagesRegistry: 'old.example.org/ee', clusterIsBootstrapped: 'true' }, 'keys of others stay')
  const pod = (ready: string) =>
    api.put({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'deckhouse-1',
        namespace,
        labels: { app: 'deckhouse', leader: 'true' },
        annotations: { 'checksum/registry-version': hashOfRegistry({ address, path, scheme, ca, dockerConfig }) }
      },
      status: { conditions: [{ type: 'Ready', status: ready }] }
    })
  pod('False')
  await until(() => cluster.condition('DeckhouseRegistrySwitchReady')?.message === 'Waiting for deckhouse-controller to become ready')
  pod('True')
  await until(() => cluster.isIn('Proxy'))
})
