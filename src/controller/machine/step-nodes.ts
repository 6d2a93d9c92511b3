import { bashibleConfig, isSameSource, type NodeSource } from '../objects/bashible-config.ts'
import { upstreamOfRegistry } from '../objects/deckhouse-registry.ts'
import { unknownVersion } from '../objects/names.ts'
import { applyingText, behindText, preflightText } from './texts.ts'
import type { Walk } from './walk.ts'

type NodesStep = 'TransitionContainerdConfigReady' | 'FinalContainerdConfigReady'

/** No node has an own configuration of registries, which the module's would replace; later on there is none to find. */
export function preflight(walk: Walk): boolean {
  const { nodes, nodesConfigured } = walk.observed
  const unready = new Map<string, 'custom' | 'unknown'>()
  for (const { name, containerd } of nodes) if (containerd !== 'default') unready.set(name, containerd)
  if (nodesConfigured || unready.size === 0) return walk.ready('ContainerdConfigPreflightReady')
  return walk.waits('ContainerdConfigPreflightReady', preflightText(nodes.length, unready))
}

/** Every node has the old source and the new one. Done already where the new one is what all nodes have. */
export function transition(walk: Walk, next: NodeSource): boolean {
  const type = 'TransitionContainerdConfigReady'
  const { bashible } = walk.state
  if (isSameSource(bashible.actual_params, next)) return walk.ready(type)
  const old = bashible.actual_params ?? sourceBefore(walk)
  if (old) bashible.actual_params = old
  // A switch that ends half-way must find the way back, also after Deckhouse has been led to the new registry.
  if (old?.unmanaged) bashible.unmanaged_params = old.unmanaged
  bashible.config = bashibleConfig(next, old, walk.endpoints)
  return applied(walk, type, bashible.config.version)
}

/**
 * Every node has the new source alone. The state says so from the moment when it is told to the nodes: each of them has
 * it by then, beside the old one.
 */
export function finish(walk: Walk, next: NodeSource): boolean {
  const { bashible } = walk.state
  bashible.actual_params = next
  bashible.config = bashibleConfig(next, undefined, walk.endpoints)
  return applied(walk, 'FinalContainerdConfigReady', bashible.config.version)
}

/**
 * Non-configurable Unmanaged. While Secret `registry-bashible-config` exists it is kept, with what
 * `deckhouse-registry` says; a person removes it to go back to the configuration of the time before this module.
 */
export function finishUnmanaged(walk: Walk): boolean {
  const type = 'FinalContainerdConfigReady'
  const { observed, state } = walk
  if (!observed.nodesConfigured) {
    state.bashible = {}
    return applied(walk, type, undefined)
  }
  const unmanaged = observed.deckhouseRegistry && upstreamOfRegistry(observed.deckhouseRegistry)
  if (unmanaged) return finish(walk, { unmanaged })
  if (state.bashible.actual_params) return finish(walk, state.bashible.actual_params)
  return walk.waits(type, applyingText.failed, 'Error')
}

function applied(walk: Walk, type: NodesStep, version: string | undefined): boolean {
  const { nodes, nodesConfigured } = walk.observed
  if (version !== undefined && !nodesConfigured) return walk.waits(type, applyingText.creating)
  const behind = new Map<string, string>()
  for (const node of nodes) if (node.version !== (version ?? unknownVersion)) behind.set(node.name, node.version)
  return behind.size === 0 ? walk.ready(type) : walk.waits(type, behindText(nodes.length, behind, version))
}

// Where nodes pull from before the first switch: the registry of the installation.
function sourceBefore({ observed }: Walk): NodeSource | undefined {
  const unmanaged = observed.deckhouseRegistry && upstreamOfRegistry(observed.deckhouseRegistry)
  return unmanaged && { unmanaged }
}
