import type { DeckhouseRegistry } from '../objects/deckhouse-registry.ts'
import type { ClusterMaterial } from '../objects/material.ts'
import type { ClusterState } from './state.ts'

/** A node as the API server shows it. */
export interface ObservedNode {
  name: string
  controlPlane: boolean
  /** Its first InternalIP; absent if it has none. */
  address?: string
  ready: boolean
  /** The configuration of the nodes that it has applied, or `unknown`. */
  version: string
  containerd: 'default' | 'custom' | 'unknown'
  /** Its registry, a static pod; absent if there is none. */
  services?: { ready: boolean; version: string }
}

/** Deckhouse's own pod; `pod` is absent if there is none. */
export interface ObservedDeckhouse {
  pod?: { ready: boolean; registryVersion: string }
}

/** Deployment `registry-incluster-proxy`. `progress` says what its rollout waits for; absent once it is done. */
export interface ObservedProxy {
  version: string
  progress?: string
}

/** How far the check of the required images has come. */
export interface CheckStatus {
  /** The check that it is about. */
  version: string
  ready: boolean
  /** Whether an image was not found, or could not be asked for. */
  failing: boolean
  message: string
}

/** What the controller sees of the cluster, at one moment. */
export interface Observed {
  /** As stored; absent if there is none or it cannot be read. */
  state?: ClusterState
  /** False while Deckhouse installs the cluster: settings are frozen. */
  bootstrapped: boolean
  /** Whether Proxy and Local are supported: in clusters whose nodes are static. */
  static: boolean
  nodes: readonly ObservedNode[]
  /** Whether Secret `registry-bashible-config` exists. */
  nodesConfigured: boolean
  deckhouseRegistry?: DeckhouseRegistry
  /** Absent in a cluster without Deckhouse. */
  deckhouse?: ObservedDeckhouse
  inClusterProxy?: ObservedProxy
  material: ClusterMaterial
  /** The version of the list of required images. */
  requiredImages: string
  /** The running or the last check of them. */
  check?: CheckStatus
  /** A random text of 25 characters, used if the state has no HTTP secret yet. */
  freshSecret: string
}
