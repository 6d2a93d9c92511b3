import { isMapping } from '../../../config/read/walk.ts'
import type { ApiError } from '../../kubernetes/api-error.ts'
import type { KubernetesClient } from '../../kubernetes/client.ts'
import { Informer, type InformerOptions } from '../../kubernetes/informer.ts'
import type { KubernetesObject } from '../../kubernetes/object.ts'
import { names } from '../objects/names.ts'
import type { ClusterObjects } from './observe.ts'

type Watched = 'secrets' | 'pods' | 'deployments' | 'services' | 'nodes' | 'settings' | 'configMaps' | 'bootstrapped'

const namespace = names.namespace
const watched: Record<Watched, Omit<InformerOptions, 'changed'>> = {
  secrets: { apiVersion: 'v1', kind: 'Secret', namespace },
  pods: { apiVersion: 'v1', kind: 'Pod', namespace, keep: keptPod },
  deployments: { apiVersion: 'apps/v1', kind: 'Deployment', namespace },
  services: { apiVersion: 'v1', kind: 'Service', namespace, fieldSelector: `metadata.name=${names.service}` },
  nodes: { apiVersion: 'v1', kind: 'Node', keep: keptNode },
  settings: { apiVersion: 'deckhouse.io/v1alpha1', kind: 'ModuleConfig', fieldSelector: 'metadata.name=deckhouse' },
  configMaps: { apiVersion: 'v1', kind: 'ConfigMap', namespace, fieldSelector: `metadata.name=${names.requiredImages}` },
  bootstrapped: { apiVersion: 'v1', kind: 'ConfigMap', namespace: 'kube-system', fieldSelector: 'metadata.name=d8-cluster-is-bootstraped' }
}

/** The objects of the cluster that a look is made from, followed by watches. */
export class Watches {
  readonly #informers: Record<Watched, Informer>

  constructor(client: KubernetesClient, changed: () => void) {
    const entries = Object.entries(watched).map(([name, options]) => [name, new Informer(client, { ...options, changed })])
    this.#informers = Object.fromEntries(entries) as Record<Watched, Informer>
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(Object.values(this.#informers).map(each => each.run(signal)))
  }

  /** Whether all of them were read once; before that nothing is known to be absent. */
  get isSynced(): boolean {
    return Object.values(this.#informers).every(({ isSynced }) => isSynced)
  }

  /** Why one of them cannot be followed now. */
  get fault(): ApiError | undefined {
    return Object.values(this.#informers).find(({ fault }) => fault)?.fault
  }

  objects(): ClusterObjects {
    const { secrets, pods, deployments, nodes } = this.#informers
    return { secrets: byName(secrets), pods: [...pods.items.values()], deployments: byName(deployments), nodes: [...nodes.items.values()] }
  }

  /** ModuleConfig `deckhouse`. */
  get settings(): KubernetesObject | undefined {
    return this.#informers.settings.items.get('deckhouse')
  }

  /** ConfigMap `registry-required-images`. */
  get imageList(): KubernetesObject | undefined {
    return byName(this.#informers.configMaps).get(names.requiredImages)
  }

  /** Whether Deckhouse has installed the cluster. */
  get isBootstrapped(): boolean {
    return this.#informers.bootstrapped.items.size > 0
  }

  /** An object of a kind that the controller writes; undefined also for kinds that are not followed. */
  find({ kind, metadata: { name } }: KubernetesObject): KubernetesObject | undefined {
    const informer = this.#informerOf(kind)
    return informer && byName(informer).get(name)
  }

  /** Objects of the kinds that the controller removes. */
  *all(): Iterable<KubernetesObject> {
    for (const name of ['secrets', 'deployments', 'services'] as const) yield* this.#informers[name].items.values()
  }

  /** Keeps what was just written or removed, before a watch tells of it. */
  note(object: KubernetesObject, what: 'written' | 'removed'): void {
    const informer = this.#informerOf(object.kind)
    if (what === 'written') informer?.note(object)
    else informer?.forget(object)
  }

  #informerOf(kind: string): Informer | undefined {
    const name = { Secret: 'secrets', Deployment: 'deployments', Service: 'services' }[kind]
    return name === undefined ? undefined : this.#informers[name as Watched]
  }
}

function byName({ items }: Informer): Map<string, KubernetesObject> {
  return new Map([...items.values()].map(each => [each.metadata.name, each]))
}

// A node has a status of some ten KiB, and there may be a thousand.
function keptNode({ apiVersion, kind, metadata, status }: KubernetesObject): KubernetesObject {
  const { name, labels = {}, annotations = {}, resourceVersion } = metadata
  const { addresses, conditions } = isMapping(status) ? status : {}
  const version = annotations[names.annotations.version]
  const services = annotations[names.annotations.servicesVersion]
  const kept = {
    ...(version === undefined ? {} : { [names.annotations.version]: version }),
    ...(services === undefined ? {} : { [names.annotations.servicesVersion]: services })
  }
  const ready = Array.isArray(conditions) ? conditions.filter(each => isMapping(each) && each['type'] === 'Ready') : []
  return {
    apiVersion,
    kind,
    metadata: { name, labels, annotations: kept, ...(resourceVersion ? { resourceVersion } : {}) },
    status: { addresses, conditions: ready }
  }
}

function keptPod({ apiVersion, kind, metadata, spec, status }: KubernetesObject): KubernetesObject {
  const { nodeName, containers, initContainers } = isMapping(spec) ? spec : {}
  const images = (list: unknown) =>
    Array.isArray(list) ? list.map(each => (isMapping(each) ? { name: each['name'], image: each['image'] } : {})) : []
  const conditions = isMapping(status) ? status['conditions'] : undefined
  return {
    apiVersion,
    kind,
    metadata,
    spec: { nodeName, containers: images(containers), initContainers: images(initContainers) },
    status: { conditions }
  }
}
