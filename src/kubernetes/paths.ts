import type { KubernetesObject } from './object.ts'

// The kinds that are used, with the name of their collections.
const plurals: Readonly<Record<string, string>> = {
  ConfigMap: 'configmaps',
  DaemonSet: 'daemonsets',
  Deployment: 'deployments',
  Event: 'events',
  Lease: 'leases',
  ModuleConfig: 'moduleconfigs',
  Node: 'nodes',
  Pod: 'pods',
  PodDisruptionBudget: 'poddisruptionbudgets',
  Secret: 'secrets',
  Service: 'services'
}

/** What names a collection of the API. */
export interface CollectionName {
  apiVersion: string
  kind: string
  /** Absent: of the cluster, or of all namespaces. */
  namespace?: string | undefined
}

/** The path of a collection (Kubernetes API concepts, "Resource URIs"). */
export function collectionPath({ apiVersion, kind, namespace }: CollectionName): string {
  const plural = plurals[kind]
  if (plural === undefined) throw new Error(`kind ${kind} has no known path`)
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  return `${root}${namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`
}

/** The path of an object. */
export function objectPath({
  apiVersion,
  kind,
  metadata: { name, namespace }
}: Pick<KubernetesObject, 'apiVersion' | 'kind' | 'metadata'>): string {
  return `${collectionPath({ apiVersion, kind, namespace })}/${encodeURIComponent(name)}`
}
