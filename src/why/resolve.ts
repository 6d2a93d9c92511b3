import type { Config, UpstreamConfig } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import { keyOfNamespace, keyOfOwn } from '../backend/build.ts'
import { namespaceRoute, ownRoute, type UpstreamRoute } from '../backend/routes.ts'
import type { Content } from '../content/content.ts'
import type { Name } from '../oci/name.ts'
import type { PodReference } from '../oci/pod-reference.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PullRoute } from './report.ts'

/** What a report is made from: the configuration and upstreams in force, and what is stored. */
export interface WhyContext {
  config: Config
  content: Content
  storage: Storage
  /** By `<host>/<path>`. */
  upstreams: ReadonlyMap<string, Upstream>
  /** Rejects unless the storage accepts bytes. */
  writable(): Promise<void>
}

/** The upstream of a reference, with its settings. */
export interface ResolvedUpstream {
  route: UpstreamRoute
  settings: UpstreamConfig
  /** The path of the settings in the configuration. */
  section: string
}

/** A reference, resolved by the configuration as a pull would be. */
export interface ResolvedReference {
  mode: PullRoute['mode']
  name: Name
  /** The name in the storage. */
  storedName: Name
  /** Absent in Local. */
  upstream?: ResolvedUpstream
}

/** Resolves a reference; `unknown-host` for a host that is neither this registry nor configured. */
export function resolveReference(
  { host, name }: PodReference,
  { config, upstreams }: Pick<WhyContext, 'config' | 'upstreams'>
): ResolvedReference | 'unknown-host' {
  const { mode, upstream: own, upstreams: others } = config.registry
  if (host === undefined || isOwn(host, config)) {
    const upstream = own && upstreams.get(keyOfOwn(own))
    if (mode === 'Local' || !upstream) return { mode: 'Local', name, storedName: name }
    const route = ownRoute(config.server.path, own, upstream)
    return { mode, name, storedName: name, upstream: { route, settings: own, section: `registry.${mode.toLowerCase()}` } }
  }
  const settings = Object.hasOwn(others, host) ? others[host] : undefined
  const client = settings && upstreams.get(keyOfNamespace(host))
  if (!client) return 'unknown-host'
  const route = namespaceRoute(host, client)
  const upstream = { route, settings, section: `registry.upstreams."${host}"` }
  return { mode: settings.policy === 'cache' ? 'Proxy' : 'Direct', name, storedName: route.contentName(name), upstream }
}

// A reference written on the node itself may name the address of the listening port.
function isOwn(host: string, { server }: Config): boolean {
  const { port } = server.listen
  const bound = server.listen.host.includes(':') ? `[${server.listen.host}]` : server.listen.host
  const loopback = ['127.0.0.1', 'localhost', '[::1]', bound].map(each => `${each}:${port}`)
  return [...server.names, ...loopback].some(each => each.toLowerCase() === host)
}
