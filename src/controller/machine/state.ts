import { Document, isScalar, parse, Scalar, stringify, visit } from 'yaml'
import { isMapping } from '../../../config/read/walk.ts'
import type { BashibleConfig, NodeSource } from '../objects/bashible-config.ts'
import type { ClusterMode, ClusterParams, UpstreamParams } from '../settings/params.ts'
import type { Condition } from './conditions.ts'

/** What a service of the cluster was last told to serve. */
export interface ServedParams {
  mode: 'Direct' | 'Proxy' | 'Local'
  upstream?: UpstreamParams
  ttl?: string
}

/**
 * The memory of the controller between two looks: key `state` of Secret `registry-state`, in the words of Deckhouse's
 * hooks where they have the same.
 */
export interface ClusterState {
  /** The mode that is in force: the last one that a switch has reached. */
  mode: ClusterMode
  target_mode: ClusterMode
  /** The settings that count while a cluster is installed. */
  init_params?: ClusterParams
  secrets: { http: string }
  /** Whether the authority exists and is kept. */
  pki: boolean
  /** The users of the replicas that are kept. */
  users: string[]
  bashible: {
    /** The last upstream, also that before the first switch: what non-configurable Unmanaged goes back to. */
    unmanaged_params?: UpstreamParams
    /** The source that all nodes have, alone or beside another one. */
    actual_params?: NodeSource
    /** What the nodes are told. */
    config?: BashibleConfig
  }
  in_cluster_proxy?: ServedParams
  node_services?: ServedParams
  ingress_enabled: boolean
  registry_service: '' | 'incluster-proxy' | 'node-services'
  /** The subject of the check of the required images that has ended well. */
  checked?: string
  conditions: Condition[]
}

/** The state of a cluster that this controller has never seen. */
export function firstState(): ClusterState {
  return {
    mode: 'Unmanaged',
    target_mode: 'Unmanaged',
    secrets: { http: '' },
    pki: false,
    users: [],
    bashible: {},
    ingress_enabled: false,
    registry_service: '',
    conditions: []
  }
}

/** The text of the key `state`. */
export function formatState(state: ClusterState): string {
  return stringify(state, { lineWidth: 0, aliasDuplicateObjects: false })
}

/**
 * The text of the key `conditions`: keys in the order of the alphabet, times as texts, which YAML 1.1 would not see.
 */
export function formatConditions(conditions: readonly Condition[]): string {
  const document = new Document(conditions, { aliasDuplicateObjects: false, sortMapEntries: true })
  visit(document, {
    Pair: (_, { key, value }) => {
      if (isScalar(key) && key.value === 'lastTransitionTime' && isScalar(value)) value.type = Scalar.QUOTE_DOUBLE
    }
  })
  return document.toString({ lineWidth: 0 })
}

const modes: readonly unknown[] = ['Direct', 'Proxy', 'Local', 'Unmanaged']

/** Reads what `formatState` wrote, and what Deckhouse's hooks did; undefined if it is neither. */
export function parseState(text: string): ClusterState | undefined {
  let found: unknown
  try {
    found = parse(text)
  } catch {
    return undefined
  }
  if (!isMapping(found) || !modes.includes(found['mode'])) return undefined
  const first = firstState()
  const state = { ...first, ...found } as ClusterState
  const bashible = isMapping(found['bashible']) ? (found['bashible'] as ClusterState['bashible']) : {}
  return {
    ...state,
    target_mode: modes.includes(found['target_mode']) ? state.target_mode : state.mode,
    secrets: { http: isMapping(found['secrets']) ? String(found['secrets']['http'] ?? '') : '' },
    // Of the hooks these are the keys and passwords themselves, which are read from their own Secrets.
    pki: found['pki'] === true || isMapping(found['pki']),
    users: Array.isArray(found['users']) ? found['users'].map(String) : isMapping(found['users']) ? Object.keys(found['users']) : [],
    bashible,
    conditions: Array.isArray(found['conditions']) ? (found['conditions'] as Condition[]) : [],
    ...served('node_services', found, state.mode === 'Local' ? 'Local' : 'Proxy', bashible.unmanaged_params),
    ...served('in_cluster_proxy', found, 'Direct', bashible.unmanaged_params)
  }
}

// The hooks keep the rendered configuration there, and say nowhere in which mode it is.
function served(
  key: 'node_services' | 'in_cluster_proxy',
  found: Record<string, unknown>,
  mode: ServedParams['mode'],
  last?: UpstreamParams
) {
  const value = found[key]
  if (!isMapping(value) || 'mode' in value) return {}
  return { [key]: { mode, ...(mode !== 'Local' && last ? { upstream: last } : {}) } }
}
