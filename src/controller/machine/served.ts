import type { ClusterUser } from '../objects/material.ts'
import { localNodeConfig, type NodeConfig, type NodeConfigParts, proxyNodeConfig, versionOfNodeConfig } from '../objects/node-config.ts'
import { type ProxyConfig, proxyConfig } from '../objects/proxy-config.ts'
import type { Walk } from './walk.ts'

/** What a control-plane node is told to serve; undefined while a part of it is missing: then what it has stays. */
export function nodeConfigOf({ state, observed, replicas }: Walk, node: string): { config: NodeConfig; version: string } | undefined {
  const { material } = observed
  const certificates = material.nodes[node]
  const { node_services: served } = state
  if (!served || !material.pki || !certificates) return undefined
  try {
    const user = (name: string): ClusterUser => material.users[name] ?? missing(name)
    const parts: NodeConfigParts = { pki: material.pki, certificates, user, httpSecret: state.secrets.http }
    const peers = replicas.flatMap(({ name, address }) => (name === node || address === undefined ? [] : [address]))
    const config =
      served.mode === 'Local' ? localNodeConfig(parts, peers) : proxyNodeConfig(parts, served.upstream ?? missing('upstream'), served.ttl)
    return { config, version: versionOfNodeConfig(config) }
  } catch (error) {
    if (error instanceof MissingPart) return undefined
    throw error
  }
}

/** What the in-cluster proxy is told; undefined while a part of it is missing. */
export function proxyConfigOf({ state, observed: { material } }: Walk): ProxyConfig | undefined {
  const upstream = state.in_cluster_proxy?.upstream
  if (!upstream || !material.pki || material.proxy?.password !== upstream.password) return undefined
  return proxyConfig(upstream, material.pki, material.proxy)
}

class MissingPart extends Error {}

function missing(part: string): never {
  throw new MissingPart(part)
}
