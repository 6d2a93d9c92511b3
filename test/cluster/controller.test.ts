// The controller against a real API server, as a user with the rights that it needs and no others. Nodes are objects
// here: the test reports for them, as the part of the registry on a node does.

import { pino } from 'pino'
import tap, { type Test, test } from 'tap'
import { parse } from 'yaml'
import { startController } from '../../src/app/controller/start.ts'
import type { Condition } from '../../src/controller/machine/conditions.ts'
import { readKubeconfig } from '../../src/kubernetes/kubeconfig.ts'
import { decodeSecret } from '../../src/kubernetes/object.ts'
import { hasTools } from '../e2e/tool.ts'
import { until } from '../src/support.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Api, ApiObject } from './api.ts'
import { ControlPlane, controlPlaneTools } from './control-plane.ts'

const timeout = 600_000
tap.setTimeout(timeout)

const namespace = 'd8-system'
const namespaced = `/api/v1/namespaces/${namespace}`
const rbac = '/apis/rbac.authorization.k8s.io/v1'
const user = 'registry-controller'

const follow = ['get', 'list', 'watch']
const lead = [...follow, 'create', 'patch', 'delete']
const clusterRules = [
  { apiGroups: [''], resources: ['nodes'], verbs: follow },
  { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
  { apiGroups: ['deckhouse.io'], resources: ['moduleconfigs'], resourceNames: ['deckhouse'], verbs: follow }
]
const ownRules = [
  { apiGroups: [''], resources: ['secrets', 'services'], verbs: lead },
  { apiGroups: ['apps'], resources: ['deployments'], verbs: lead },
  { apiGroups: ['policy'], resources: ['poddisruptionbudgets'], verbs: ['get', 'create', 'patch', 'delete'] },
  { apiGroups: [''], resources: ['pods'], verbs: follow },
  { apiGroups: [''], resources: ['configmaps'], resourceNames: ['registry-required-images'], verbs: follow },
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] }
]
const bootstrapRules = [{ apiGroups: [''], resources: ['configmaps'], resourceNames: ['d8-cluster-is-bootstraped'], verbs: follow }]

const moduleConfigs = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'moduleconfigs.deckhouse.io' },
  spec: {
    group: 'deckhouse.io',
    names: { kind: 'ModuleConfig', listKind: 'ModuleConfigList', plural: 'moduleconfigs', singular: 'moduleconfig' },
    scope: 'Cluster',
    versions: [
      {
        name: 'v1alpha1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }
      }
    ]
  }
}

/** The cluster, with what acts in it besides the controller. */
class NodesOfCluster {
  readonly #api: Api
  readonly #names = ['m1', 'm2', 'w1']

  constructor(api: Api) {
    this.#api = api
  }

  async prepare(): Promise<void> {
    const api = this.#api
    await api.apply(`/api/v1/namespaces/${namespace}`, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
    await api.apply(`${namespaced}/serviceaccounts/default`, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace }
    })
    await api.apply(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${moduleConfigs.metadata.name}`, moduleConfigs)
    const subjects = [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }]
    const grant = async (kind: 'Role' | 'ClusterRole', path: string, rules: object[]) => {
      const meta = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: user } }
      await api.apply(`${rbac}${path}/${kind.toLowerCase()}s/${user}`, { ...meta, kind, rules })
      const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind, name: user }
      await api.apply(`${rbac}${path}/${kind.toLowerCase()}bindings/${user}`, { ...meta, kind: `${kind}Binding`, subjects, roleRef })
    }
    await grant('ClusterRole', '', clusterRules)
    await grant('Role', `/namespaces/${namespace}`, ownRules)
    await grant('Role', '/namespaces/kube-system', bootstrapRules)
    for (const [index, name] of this.#names.entries()) await this.#putNode(name, `10.213.0.${index + 11}`)
  }

  async #putNode(name: string, address: string): Promise<void> {
    const role = name.startsWith('m') ? { 'node-role.kubernetes.io/control-plane': '' } : {}
    const labels = { 'node.deckhouse.io/containerd-config-registry': 'default', ...role }
    const path = `/api/v1/nodes/${name}`
    await this.#api.apply(path, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } })
    const status = { addresses: [{ type: 'InternalIP', address }], conditions: [{ type: 'Ready', status: 'True' }] }
    await this.#api.patch(`${path}/status`, { status })
  }

  /** Reports for all nodes and the Deployment what they were told last. */
  async report(): Promise<void> {
    const told = await this.#secret('registry-bashible-config')
    const version = told && (parse(told['config'] ?? '') as { version: string }).version
    for (const name of this.#names) {
      const services = (await this.#secret(`registry-node-config-${name}`))?.['version']
      const annotations = { 'registry.deckhouse.io/version': version ?? null, 'registry.deckhouse.io/services-version': services ?? null }
      await this.#api.patch(`/api/v1/nodes/${name}`, { metadata: { annotations } })
      await this.#reportPod(name, services !== undefined)
    }
    const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/registry-incluster-proxy`
    const found = await this.#api.find(deployment)
    const replicas = found?.spec.replicas
    const status = {
      observedGeneration: found?.metadata.generation,
      replicas,
      updatedReplicas: replicas,
      availableReplicas: replicas,
      readyReplicas: replicas
    }
    if (found) await this.#api.patch(`${deployment}/status`, { status })
  }

  async #reportPod(node: string, runs: boolean): Promise<void> {
    const name = `registry-nodeservices-${node}`
    const path = `${namespaced}/pods/${name}`
    if (!runs) return this.#api.delete(`${path}?gracePeriodSeconds=0`)
    if (await this.#api.find(path)) return
    const labels = { component: 'registry-service', type: 'node-services' }
    const spec = { nodeName: node, automountServiceAccountToken: false, containers: [{ name: 'distribution', image: 'registry:test' }] }
    await this.#api.apply(path, { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec })
    await this.#api.patch(`${path}/status`, { status: { conditions: [{ type: 'Ready', status: 'True' }] } })
  }

  async settings(registry: object): Promise<void> {
    const object = {
      apiVersion: 'deckhouse.io/v1alpha1',
      kind: 'ModuleConfig',
      metadata: { name: 'deckhouse' },
      spec: { version: 1, settings: { registry } }
    }
    await this.#api.apply('/apis/deckhouse.io/v1alpha1/moduleconfigs/deckhouse', object)
  }

  async #secret(name: string): Promise<Record<string, string> | undefined> {
    const found: ApiObject = await this.#api.find(`${namespaced}/secrets/${name}`)
    return found && decodeSecret(found)
  }

  /** Whether the switch to a mode has ended; reports for everything else meanwhile. */
  async reaches(mode: string): Promise<boolean> {
    await this.report()
    const { mode: reached, target_mode: target, conditions = '' } = (await this.#secret('registry-state')) ?? {}
    const ready = ((parse(conditions) ?? []) as Condition[]).find(({ type }) => type === 'Ready')
    return reached === mode && target === mode && ready?.status === 'True'
  }
}

async function controllerOf(t: Test, controlPlane: ControlPlane): Promise<{ log: string[]; stop: () => Promise<unknown> }> {
  const log: string[] = []
  const access = readKubeconfig(await controlPlane.kubeconfig(user, `/CN=${user}`))
  const options = { access, image: 'registry:test', admin: { host: '127.0.0.1', port: 0 }, static: true }
  const controller = await startController(options, pino({ level: 'info' }, { write: (line: string) => void log.push(line) }))
  t.teardown(() => controller.stop())
  return { log, stop: () => controller.stop() }
}

test('controller: a real API server; Unmanaged, Direct, Proxy and back, by the rights it needs alone, and over an end of it', {
  timeout
}, async t => {
  if (!hasTools(t, ...controlPlaneTools.api)) return
  const controlPlane = await ControlPlane.start(t)
  const api = controlPlane.admin
  const cluster = new NodesOfCluster(api)
  await cluster.prepare()
  const upstream = await startUpstream(t)
  const { host } = new URL(upstream.url)
  upstream.addImage('deckhouse/ee', 'v1')
  await api.apply(`${namespaced}/configmaps/registry-required-images`, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'registry-required-images', namespace },
    data: { list: ':v1\n' }
  })
  const section = { imagesRepo: `${host}/deckhouse/ee`, scheme: 'HTTP' }
  const first = await controllerOf(t, controlPlane)
  const errors = (log: string[]) => log.filter(line => /"level":50/.test(line))
  await cluster.settings({ mode: 'Direct', direct: section })
  await until(() => cluster.reaches('Direct'))
  t.ok(await api.find(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/registry-incluster-proxy`))
  await cluster.settings({ mode: 'Proxy', proxy: section })
  await until(() => cluster.reaches('Proxy'))
  t.same(errors(first.log), [], 'no right was missing')
  t.notOk(await api.find(`/apis/apps/v1/namespaces/${namespace}/deployments/registry-incluster-proxy`))
  const service = await api.find(`${namespaced}/services/registry`)
  t.match(service.spec, { clusterIP: 'None', selector: { type: 'node-services' } })
  await first.stop()
  const second = await controllerOf(t, controlPlane)
  await cluster.settings({ mode: 'Unmanaged', unmanaged: section })
  await until(() => cluster.reaches('Unmanaged'))
  await until(async () => !(await api.find(`${namespaced}/secrets/registry-pki`)))
  t.same(errors(second.log), [])
  for (const name of ['secrets/registry-user-ro', 'secrets/registry-node-config-m1', 'services/registry'])
    t.notOk(await api.find(`${namespaced}/${name}`), `${name} is gone`)
  controlPlane.freeze('frozen')
  await new Promise(resolve => setTimeout(resolve, 1))
  controlPlane.freeze('thawed')
  await cluster.settings({ mode: 'Direct', direct: section })
  await until(() => cluster.reaches('Direct'))
})
