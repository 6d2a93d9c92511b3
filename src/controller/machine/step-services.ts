import { isDeepStrictEqual } from 'node:util'
import type { MissingMaterial } from '../objects/material.ts'
import { nodeConfigOf, proxyConfigOf } from './served.ts'
import type { ServedParams } from './state.ts'
import { cleanupText, proxyText, servicesText, serviceText } from './texts.ts'
import type { Walk } from './walk.ts'

/** The authority and the users exist; certificates of nodes are part of their services. */
export function material(walk: Walk, users: readonly string[]): boolean {
  const { state, observed } = walk
  state.pki = true
  state.secrets.http ||= observed.freshSecret
  state.users = [...new Set([...state.users, ...users])]
  if (!observed.material.pki) return need(walk, { kind: 'pki' })
  return state.users.filter(name => !observed.material.users[name]).every(name => need(walk, { kind: 'user', name }))
}

/** The registry runs on every control-plane node, in the mode that is wanted. */
export function nodeServices(walk: Walk, served: ServedParams): boolean {
  const type = 'NodeServicesReady'
  const { state, observed, replicas } = walk
  state.node_services = served
  for (const { name, address } of replicas) {
    if (address !== undefined && observed.material.nodes[name]?.address !== address) need(walk, { kind: 'node', name, address })
  }
  if (walk.missing.length > 0) return false
  const waiting = new Map<string, string>()
  for (const { name, ready, address, services } of replicas) {
    if (address === undefined) waiting.set(name, serviceText.address)
    else if (!ready) waiting.set(name, serviceText.node)
    else {
      const version = nodeConfigOf(walk, name)?.version ?? ''
      if (!services?.ready || services.version !== version) waiting.set(name, serviceText.pod(version))
    }
  }
  return waiting.size === 0 ? walk.ready(type) : walk.waits(type, servicesText(replicas.length, waiting))
}

/** The in-cluster proxy runs, for components that pull without containerd. */
export function inClusterProxy(walk: Walk, served: ServedParams): boolean {
  const type = 'InClusterProxyReady'
  const { state, observed } = walk
  const password = served.upstream?.password ?? ''
  if (observed.material.proxy?.password !== password) return need(walk, { kind: 'proxy', password })
  if (!isDeepStrictEqual(state.in_cluster_proxy, served)) state.in_cluster_proxy = served
  const version = proxyConfigOf(walk)?.version ?? ''
  const found = observed.inClusterProxy
  if (!found) return walk.waits(type, proxyText.deploying)
  if (found.version !== version) return walk.waits(type, proxyText.mismatch(found.version, version))
  return found.progress === undefined ? walk.ready(type) : walk.waits(type, proxyText.progress(found.progress))
}

/** No node has a registry any more. Where there was none, the condition is left out. */
export function cleanupNodeServices(walk: Walk): boolean {
  const type = 'CleanupNodeServices'
  const left = walk.observed.nodes.filter(({ services }) => services).map(({ name }) => name)
  const before = walk.state.node_services !== undefined || left.length > 0 || walk.conditions.find(type) !== undefined
  delete walk.state.node_services
  if (!before) return true
  return left.length === 0 ? walk.ready(type) : walk.waits(type, cleanupText(left))
}

/** The in-cluster proxy is gone. */
export function cleanupInClusterProxy(walk: Walk): boolean {
  const type = 'CleanupInClusterProxy'
  delete walk.state.in_cluster_proxy
  return walk.observed.inClusterProxy ? walk.waits(type, proxyText.stopping) : walk.ready(type)
}

function need(walk: Walk, missing: MissingMaterial): false {
  walk.missing.push(missing)
  return false
}
