import { stringify } from 'yaml'
import { encodeSecret, type KubernetesObject } from '../../kubernetes/object.ts'
import type { ClusterOutcome } from '../machine/machine.ts'
import { formatConditions, formatState } from '../machine/state.ts'
import type { DeckhouseRegistry } from './deckhouse-registry.ts'
import { type ProxyPlacement, renderInClusterProxy } from './in-cluster-proxy.ts'
import type { ClusterMaterial } from './material.ts'
import { names } from './names.ts'

/** The label of objects that the controller made and may remove. */
export const ownLabel = { 'app.kubernetes.io/managed-by': 'registry-controller' } as const

/** How an outcome becomes objects: in this order they are written, and then what is not among them is removed. */
export interface RenderedObjects {
  apply: readonly KubernetesObject[]
  /** Merged into `deckhouse-registry`, whose other keys belong to others. */
  merge?: KubernetesObject
  /** Names of Secrets that stay although they are not in `apply`. */
  keep: ReadonlySet<string>
}

/**
 * The objects of an outcome. Keys and users come before the state that speaks of them, and the state before the rest: a
 * controller that ends in between leaves nothing that its successor could not go on from.
 */
export function renderObjects(outcome: ClusterOutcome, material: ClusterMaterial, placement: ProxyPlacement): RenderedObjects {
  const { state, registry, nodeConfigs, inClusterProxy, hash } = outcome
  const { config } = state.bashible
  const apply = [
    ...(state.pki && material.pki ? [pkiSecret(material.pki)] : []),
    ...state.users.flatMap(name => userSecret(material, name)),
    stateSecret(outcome),
    ...[...nodeConfigs].flatMap(([node, found]) => (found ? [nodeSecret(node, found, hash)] : [])),
    ...(inClusterProxy ? renderInClusterProxy(inClusterProxy, placement) : []),
    ...(state.registry_service ? [service(state.registry_service)] : []),
    ...(config ? [bashibleSecret(config)] : [])
  ]
  const keep = new Set([...nodeConfigs].flatMap(([node, found]) => (found ? [] : [names.secrets.nodePrefix + node])))
  return { apply, keep, ...(registry ? { merge: deckhouseSecret(registry) } : {}) }
}

function secret(name: string, type: string, values: Record<string, string>, meta: { labels?: object; annotations?: object } = {}) {
  const { labels = {}, annotations } = meta
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      namespace: names.namespace,
      labels: { app: 'registry', ...labels, ...ownLabel },
      ...(annotations ? { annotations: { ...annotations } } : {})
    },
    type,
    data: encodeSecret(values)
  } satisfies KubernetesObject
}

function stateSecret({ state, hash }: ClusterOutcome): KubernetesObject {
  const { conditions, mode, target_mode } = state
  const values = {
    conditions: formatConditions(conditions),
    hash,
    mode,
    state: formatState(state),
    target_mode
  }
  return secret(names.secrets.state, 'registry/state', values, {
    labels: { type: 'registry-state' },
    annotations: { [names.annotations.configHash]: hash }
  })
}

function bashibleSecret(config: NonNullable<ClusterOutcome['state']['bashible']['config']>): KubernetesObject {
  return secret(
    names.secrets.bashible,
    'Opaque',
    { config: stringify(config, { lineWidth: 0, aliasDuplicateObjects: false }) },
    {
      labels: { name: names.secrets.bashible },
      annotations: { 'helm.sh/resource-policy': 'keep' }
    }
  )
}

function pkiSecret({ ca, token }: NonNullable<ClusterMaterial['pki']>): KubernetesObject {
  const values = { 'ca.crt': ca.cert, 'ca.key': ca.key, 'token.crt': token.cert, 'token.key': token.key }
  return secret(names.secrets.pki, 'registry/pki', values, { labels: { type: 'registry-pki' } })
}

function userSecret({ users }: ClusterMaterial, name: string): KubernetesObject[] {
  const user = users[name]
  if (!user) return []
  const { password, passwordHash } = user
  return [secret(names.secrets.userPrefix + name, 'registry/user', { name, password, passwordHash }, { labels: { type: 'registry-user' } })]
}

function nodeSecret(node: string, { config, version }: { config: object; version: string }, hash: string): KubernetesObject {
  const values = { config: stringify(config, { lineWidth: 0, aliasDuplicateObjects: false }), version }
  return secret(names.secrets.nodePrefix + node, 'registry/node-services-config', values, {
    labels: { type: 'registry-node-services-config' },
    annotations: { [names.annotations.configHash]: hash }
  })
}

// Headless: components resolve it to the replicas themselves, or to the in-cluster proxy.
function service(to: 'incluster-proxy' | 'node-services'): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: names.service, namespace: names.namespace, labels: { app: 'registry', ...ownLabel } },
    spec: {
      clusterIP: 'None',
      ports: [{ name: 'registry', port: names.port, protocol: 'TCP', targetPort: 'distribution' }],
      selector: { component: 'registry-service', type: to }
    }
  }
}

function deckhouseSecret({ address, path, scheme, ca, dockerConfig }: DeckhouseRegistry): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: names.secrets.deckhouse, namespace: names.namespace },
    type: 'kubernetes.io/dockerconfigjson',
    data: encodeSecret({ address, path, scheme, ca, '.dockerconfigjson': dockerConfig })
  }
}
