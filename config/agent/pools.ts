import { reachIn } from '../resolve-registry.ts'
import type { UpstreamConfig } from '../schema.ts'
import { baseUrl } from '../values/hosts.ts'
import type { PoolSettings } from './schema.ts'

/** A pool: replicas, or a registry beyond the cluster. */
export interface PoolConfig extends UpstreamConfig {
  readonly kind: 'replicas' | 'imagesRepo'
  /** The origins of replicas on this node. */
  readonly local: readonly string[]
  readonly tokenHosts: readonly string[]
  readonly redirectHosts: readonly string[]
}

/** The effective configuration of a pool. */
export const poolIn = ({ replicas = [], imagesRepo, tokenHosts, redirectHosts, ...settings }: PoolSettings): PoolConfig => {
  const hosts = { tokenHosts, redirectHosts }
  if (imagesRepo) return { ...reachIn(settings, imagesRepo), ...hosts, kind: 'imagesRepo', local: [] }
  const endpoints = replicas.map(({ address }) => address)
  const local = replicas.filter(each => each.local).map(({ address }) => baseUrl(settings.scheme, address))
  return { ...reachIn({ ...settings, endpoints }, { host: endpoints[0] ?? '', path: '' }), ...hosts, kind: 'replicas', local }
}
