import { isDeepStrictEqual } from 'node:util'
import type { DeckhouseRegistry } from '../objects/deckhouse-registry.ts'
import { hashOf } from '../objects/hash.ts'
import type { MissingMaterial } from '../objects/material.ts'
import { names } from '../objects/names.ts'
import type { NodeConfig } from '../objects/node-config.ts'
import type { ProxyConfig } from '../objects/proxy-config.ts'
import type { WantedCluster } from '../settings/params.ts'
import type { CheckRequest } from './check-request.ts'
import type { Observed } from './observed.ts'
import { nodeConfigOf, proxyConfigOf } from './served.ts'
import { type ClusterState, firstState } from './state.ts'
import { takeSteps, type Way } from './steps.ts'
import { Walk } from './walk.ts'

/** What the cluster is to look like from now on. What is not there is to be absent, except `registry`. */
export interface ClusterOutcome {
  state: ClusterState
  /** Of settings and configurations: an informational stamp on the objects. */
  hash: string
  /** By node; undefined: what there is stays, since a part of what is to replace it is missing. */
  nodeConfigs: ReadonlyMap<string, { config: NodeConfig; version: string } | undefined>
  inClusterProxy?: ProxyConfig
  registry?: DeckhouseRegistry
  check?: CheckRequest
  /** What has to be generated first; the machine is asked again then. */
  missing: readonly MissingMaterial[]
}

/**
 * Where a cluster stands on its way to the wanted settings, and what it is to look like until the next look. Pure:
 * neither clock nor I/O. Every step is looked at anew each time, so that a controller that ends between any two of its
 * writes leaves a cluster that the next one continues. `now` in ms since the epoch.
 */
export function machine(observed: Observed, wanted: WantedCluster, now: number): ClusterOutcome {
  const state = structuredClone(observed.state ?? firstState())
  const { generation } = wanted
  if ('faults' in wanted) {
    const walk = new Walk(observed, { params: { mode: state.target_mode, checkMode: 'Default' }, generation }, state, now)
    return halt(walk, wanted.faults.join('\n'))
  }
  const walk = new Walk(observed, { params: wanted.params, generation }, state, now)
  const fault = faultOf(walk)
  if (fault !== undefined) return halt(walk, fault)
  const { params, conditions } = walk
  if (state.target_mode !== params.mode) {
    state.target_mode = params.mode
    conditions.clear()
  }
  conditions.remove('ErrTransitionNotSupported')
  const way = wayTo(walk)
  if (way === undefined) {
    const message = `mode transition from ${state.mode} to ${params.mode} not supported`
    conditions.set({ type: 'ErrTransitionNotSupported', status: 'True', reason: 'Error', message })
    return end(walk, false)
  }
  return end(walk, takeSteps(walk, way))
}

function wayTo({ params, state, observed }: Walk): Way | undefined {
  if (params.mode !== 'Unmanaged' || params.upstream) return params.mode
  const { unmanaged_params: last, actual_params: actual } = state.bashible
  const isLed = observed.deckhouseRegistry?.address === names.host
  if (state.mode === 'Unmanaged' && !isLed && (!actual || actual.unmanaged)) return 'UnmanagedBare'
  // A Local cluster knows no upstream to go back to.
  return last ? 'UnmanagedBack' : undefined
}

// The words of Deckhouse's admission policy, for clusters without it.
const texts = {
  bootstrap:
    'Changing, adding, or removing spec.settings.registry is forbidden during cluster bootstrap. Please wait until bootstrap is complete.',
  static:
    'The field spec.settings.registry.mode cannot be set to Proxy or Local. Proxy and Local are unsupported for non-static clusters. Please use other available modes.'
}

function faultOf({ observed, params, state }: Walk): string | undefined {
  if (observed.bootstrapped) delete state.init_params
  else {
    state.init_params ??= params
    if (!isDeepStrictEqual(state.init_params, params)) return texts.bootstrap
  }
  const needsStatic = params.mode === 'Proxy' || params.mode === 'Local'
  return needsStatic && !observed.static ? texts.static : undefined
}

// Nothing changes; the settings are at fault, and once they are mended the switch goes on.
function halt(walk: Walk, message: string): ClusterOutcome {
  walk.waits('Ready', message, 'Error')
  return render(walk)
}

function end(walk: Walk, done: boolean): ClusterOutcome {
  const { state, conditions } = walk
  if (done) {
    state.mode = state.target_mode
    walk.ready('Ready')
  } else walk.waits('Ready', `Transitioning to ${state.target_mode}`)
  conditions.dropUnknown()
  return render(walk)
}

function render(walk: Walk): ClusterOutcome {
  const { state, conditions, replicas, check, registry, missing, params } = walk
  state.conditions = [...conditions.list]
  const nodeConfigs = new Map(state.node_services ? replicas.map(({ name }) => [name, nodeConfigOf(walk, name)] as const) : [])
  const inClusterProxy = proxyConfigOf(walk)
  const versions = [...nodeConfigs].map(([name, found]) => [name, found?.version ?? ''])
  const hash = hashOf(params, state.bashible.config?.version ?? '', versions, inClusterProxy?.version ?? '')
  return {
    state,
    hash,
    nodeConfigs,
    missing,
    ...(inClusterProxy ? { inClusterProxy } : {}),
    ...(registry ? { registry } : {}),
    ...(check ? { check } : {})
  }
}
