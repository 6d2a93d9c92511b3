import { splitImagesRepo, type UpstreamParams } from '../settings/params.ts'
import { hashOf } from './hash.ts'
import type { ClusterPki, ClusterUser, NodeCertificates } from './material.ts'

interface NodeUser {
  name: string
  password: string
  password_hash: string
}

/**
 * The registry of a control-plane node: key `config` of Secret `registry-node-config-<node>`, as Deckhouse's manager of
 * node services reads it. Exactly one of the two modes is there.
 */
export interface NodeConfig {
  ca: string
  auth_cert: string
  auth_key: string
  token_cert: string
  token_key: string
  distribution_cert: string
  distribution_key: string
  user_ro: NodeUser
  http_secret: string
  local_mode?: { user_rw: NodeUser; user_puller: NodeUser; user_pusher: NodeUser; upstreams: string[] }
  proxy_mode?: {
    upstream: { scheme: string; host: string; path: string; user: string; password: string; ttl?: string }
    upstream_registry_ca?: string
  }
}

/** The users of the replicas in each mode. */
export const usersOfMode = { Proxy: ['ro'], Local: ['ro', 'rw', 'mirror-puller', 'mirror-pusher'] } as const

/** What the registry of a node is made of. */
export interface NodeConfigParts {
  pki: ClusterPki
  certificates: NodeCertificates
  user(name: string): ClusterUser
  httpSecret: string
}

/** A replica that caches an upstream. */
export function proxyNodeConfig(parts: NodeConfigParts, upstream: UpstreamParams, ttl: string | undefined): NodeConfig {
  const { address, path } = splitImagesRepo(upstream.imagesRepo)
  const { scheme, username, password, ca } = upstream
  return {
    ...common(parts),
    proxy_mode: {
      upstream: { scheme, host: address, path, user: username, password, ...(ttl === undefined ? {} : { ttl }) },
      ...(ca === undefined ? {} : { upstream_registry_ca: ca })
    }
  }
}

/** A replica that holds the authoritative copy; `peers` are the addresses of the others. */
export function localNodeConfig(parts: NodeConfigParts, peers: readonly string[]): NodeConfig {
  const { user } = parts
  return {
    ...common(parts),
    local_mode: {
      user_rw: nodeUser(user('rw')),
      user_puller: nodeUser(user('mirror-puller')),
      user_pusher: nodeUser(user('mirror-pusher')),
      upstreams: [...new Set(peers)].sort()
    }
  }
}

/** What the node reports once it runs with it. */
export function versionOfNodeConfig(config: NodeConfig): string {
  return hashOf(config)
}

function common({ pki, certificates, user, httpSecret }: NodeConfigParts) {
  const { auth, distribution } = certificates
  return {
    ca: pki.ca.cert,
    auth_cert: auth.cert,
    auth_key: auth.key,
    token_cert: pki.token.cert,
    token_key: pki.token.key,
    distribution_cert: distribution.cert,
    distribution_key: distribution.key,
    user_ro: nodeUser(user('ro')),
    http_secret: httpSecret
  }
}

function nodeUser({ name, password, passwordHash }: ClusterUser): NodeUser {
  return { name, password, password_hash: passwordHash }
}
