import { isMapping } from '../../../config/read/walk.ts'
import { decodeSecret, type KubernetesObject } from '../../kubernetes/object.ts'
import type { Observed, ObservedDeckhouse, ObservedNode, ObservedProxy } from '../machine/observed.ts'
import { parseState } from '../machine/state.ts'
import type { DeckhouseRegistry } from '../objects/deckhouse-registry.ts'
import { names, unknownVersion } from '../objects/names.ts'

/** The objects that a look is made from; what is absent does not exist. */
export interface ClusterObjects {
  /** Of the namespace, by name. */
  secrets: ReadonlyMap<string, KubernetesObject>
  nodes: readonly KubernetesObject[]
  /** Of the namespace. */
  pods: readonly KubernetesObject[]
  /** Of the namespace, by name. */
  deployments: ReadonlyMap<string, KubernetesObject>
}

const controlPlaneLabels = ['node-role.kubernetes.io/control-plane', 'node-role.kubernetes.io/master']

/** What the objects of the cluster say about nodes, state and Deckhouse. */
export function observeObjects({
  secrets,
  nodes,
  pods,
  deployments
}: ClusterObjects): Pick<Observed, 'state' | 'nodes' | 'nodesConfigured' | 'deckhouseRegistry' | 'deckhouse' | 'inClusterProxy'> {
  const state = stateOf(secrets.get(names.secrets.state))
  const registry = registryOf(secrets.get(names.secrets.deckhouse))
  const proxy = proxyOf(deployments.get(names.inClusterProxy))
  return {
    nodes: nodes.map(node => nodeOf(node, pods)).sort((a, b) => (a.name < b.name ? -1 : 1)),
    nodesConfigured: secrets.has(names.secrets.bashible),
    ...(state ? { state } : {}),
    ...(registry ? { deckhouseRegistry: registry } : {}),
    ...(deployments.has('deckhouse') ? { deckhouse: deckhouseOf(pods) } : {}),
    ...(proxy ? { inClusterProxy: proxy } : {})
  }
}

function stateOf(secret: KubernetesObject | undefined) {
  return secret && parseState(decodeSecret(secret)['state'] ?? '')
}

function registryOf(secret: KubernetesObject | undefined): DeckhouseRegistry | undefined {
  if (!secret) return undefined
  const { address = '', path = '', scheme = '', ca = '', '.dockerconfigjson': dockerConfig = '' } = decodeSecret(secret)
  return { address, path, scheme, ca, dockerConfig }
}

function nodeOf(node: KubernetesObject, pods: readonly KubernetesObject[]): ObservedNode {
  const { name, labels = {}, annotations = {} } = node.metadata
  const status = isMapping(node.status) ? node.status : {}
  const address = addressOf(status['addresses'])
  const label = labels[names.containerdLabel]
  const pod = pods.find(each => isServicesPod(each) && nodeNameOf(each) === name)
  const version = annotations[names.annotations.servicesVersion] ?? pod?.metadata.annotations?.[names.annotations.configVersion]
  return {
    name,
    controlPlane: controlPlaneLabels.some(each => each in labels),
    ready: isReady(status),
    version: annotations[names.annotations.version] ?? unknownVersion,
    containerd: label === 'default' || label === 'custom' ? label : 'unknown',
    ...(address === undefined ? {} : { address }),
    ...(pod ? { services: { ready: isReady(pod.status), version: version ?? '' } } : {})
  }
}

function addressOf(addresses: unknown): string | undefined {
  if (!Array.isArray(addresses)) return undefined
  const found = addresses.find(each => isMapping(each) && each['type'] === 'InternalIP')
  return isMapping(found) && typeof found['address'] === 'string' ? found['address'] : undefined
}

function isServicesPod({ metadata: { labels = {} } }: KubernetesObject): boolean {
  return labels['component'] === 'registry-service' && labels['type'] === 'node-services'
}

function nodeNameOf({ spec }: KubernetesObject): unknown {
  return isMapping(spec) ? spec['nodeName'] : undefined
}

// Of nodes and pods.
function isReady(status: unknown): boolean {
  const conditions = isMapping(status) ? status['conditions'] : undefined
  return Array.isArray(conditions) && conditions.some(each => isMapping(each) && each['type'] === 'Ready' && each['status'] === 'True')
}

function deckhouseOf(pods: readonly KubernetesObject[]): ObservedDeckhouse {
  const pod = pods.find(({ metadata: { labels = {} } }) => labels['app'] === 'deckhouse' && labels['leader'] === 'true')
  if (!pod) return {}
  const { annotations = {} } = pod.metadata
  const registryVersion = annotations['checksum/registry-version'] ?? annotations[names.annotations.version] ?? ''
  return { pod: { ready: isReady(pod.status), registryVersion } }
}

function proxyOf(deployment: KubernetesObject | undefined): ObservedProxy | undefined {
  if (!deployment) return undefined
  const { annotations = {}, generation = 0 } = deployment.metadata
  const status = isMapping(deployment.status) ? deployment.status : {}
  const spec = isMapping(deployment.spec) ? deployment.spec : {}
  const count = (key: string): number => Number(status[key] ?? 0)
  const replicas = Number(spec['replicas'] ?? 1)
  const done =
    count('observedGeneration') >= generation &&
    count('updatedReplicas') >= replicas &&
    count('availableReplicas') >= replicas &&
    count('replicas') <= replicas
  const version = annotations[names.annotations.version] ?? unknownVersion
  return { version, ...(done ? {} : { progress: `${count('availableReplicas')} of ${replicas} pod(s) are available` }) }
}
