import { type ClusterMode, splitImagesRepo, type UpstreamParams } from '../settings/params.ts'
import { hashOf } from './hash.ts'
import { names } from './names.ts'

/** Credentials as the nodes' configuration has them; `auth` is the base64 of both, and mostly empty. */
export interface BashibleAuth {
  username: string
  password: string
  auth: string
}

/** A registry that a node requests in place of the one that an image names. */
export interface BashibleMirror {
  host: string
  scheme: string
  ca?: string
  auth: BashibleAuth
  rewrites?: { from: string; to: string }[]
}

/** The configuration of all nodes: key `config` of Secret `registry-bashible-config`. */
export interface BashibleConfig {
  mode: string
  /** The hash of all else. */
  version: string
  imagesBase: string
  /** `ip:port` of each replica; absent if nodes reach none. */
  proxyEndpoints?: string[]
  hosts: Record<string, { mirrors: BashibleMirror[] }>
}

/** How the nodes reach the cluster's own replicas: through the balancer on each node, as user `ro`. */
export interface ReplicaParams {
  ca: string
  username: string
  password: string
}

/** Where the nodes pull from in a mode: exactly one key. */
export interface NodeSource {
  direct?: UpstreamParams
  unmanaged?: UpstreamParams
  proxy?: ReplicaParams
  local?: ReplicaParams
}

/** The mode of a source. */
export function modeOf(source: NodeSource): ClusterMode {
  if (source.direct) return 'Direct'
  if (source.proxy) return 'Proxy'
  return source.local ? 'Local' : 'Unmanaged'
}

/** Whether nodes reach the cluster's replicas by this source. */
export function usesReplicas(source: NodeSource | undefined): boolean {
  return source?.proxy !== undefined || source?.local !== undefined
}

/** Whether nodes that have one source have the other. Absent keys count as empty. */
export function isSameSource(a: NodeSource | undefined, b: NodeSource): boolean {
  return a !== undefined && hashOf(canonical(a)) === hashOf(canonical(b))
}

/**
 * The configuration of all nodes for a source; with `old`, for the transition: both are configured, the old one first.
 * A mirror in both (same host and scheme) keeps its place and has its new settings.
 */
export function bashibleConfig(next: NodeSource, old: NodeSource | undefined, addresses: readonly string[]): BashibleConfig {
  const hosts = new Map<string, BashibleMirror[]>()
  for (const source of old ? [old, next] : [next]) {
    const { host, mirror } = mirrorOf(source)
    const mirrors = hosts.get(host) ?? []
    const at = mirrors.findIndex(each => each.host === mirror.host && each.scheme === mirror.scheme)
    if (at === -1) mirrors.push(mirror)
    else mirrors[at] = mirror
    hosts.set(host, mirrors)
  }
  const endpoints = usesReplicas(old) || usesReplicas(next) ? [...new Set(addresses)].sort() : []
  const config: BashibleConfig = {
    mode: modeOf(next),
    version: '',
    imagesBase: next.unmanaged ? next.unmanaged.imagesRepo : names.host + names.path,
    ...(endpoints.length > 0 ? { proxyEndpoints: endpoints } : {}),
    hosts: Object.fromEntries([...hosts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([host, mirrors]) => [host, { mirrors }]))
  }
  return { ...config, version: hashOf(config) }
}

function mirrorOf(source: NodeSource): { host: string; mirror: BashibleMirror } {
  const upstream = source.direct ?? source.unmanaged
  if (upstream === undefined) {
    const replica = source.proxy ?? source.local
    if (replica === undefined) throw new Error('a source of the nodes names no registry')
    return { host: names.host, mirror: mirror(names.proxyHost, 'https', replica) }
  }
  const { address, path } = splitImagesRepo(upstream.imagesRepo)
  const found = mirror(address, upstream.scheme, upstream)
  if (!source.direct) return { host: address, mirror: found }
  return { host: names.host, mirror: { ...found, rewrites: [{ from: names.pathRegexp, to: path.slice(1) }] } }
}

function mirror(host: string, scheme: string, params: { ca?: string; username: string; password: string }): BashibleMirror {
  const { ca, username, password } = params
  return { host, scheme, ...(ca === undefined ? {} : { ca }), auth: { username, password, auth: '' } }
}

function canonical(source: NodeSource): unknown {
  const mode = modeOf(source)
  const {
    imagesRepo = '',
    scheme = '',
    ca = '',
    username,
    password
  } = { ...source.direct, ...source.unmanaged, ...source.proxy, ...source.local }
  return [mode, imagesRepo, scheme, ca, username, password]
}
