import type { Config, UpstreamConfig } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import { keyOfNamespace, keyOfOwn } from '../backend/build.ts'
import type { UpstreamRoute } from '../backend/routes.ts'
import { namespaceRoute, ownRoute } from '../backend/routes.ts'
import type { Content } from '../content/content.ts'
import type { Name } from '../oci/name.ts'
import type { PodReference } from '../oci/pod-reference.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PullRoute } from './report.ts'

/** What the running process has to look at; the configuration and the upstreams are those in force. */
export interface WhyContext {
  config: Config
  content: Content
  storage: Storage
  /** By `<host>/<path>`. */
  upstreams: ReadonlyMap<string, Upstream>
  /** Rejects unless the medium takes bytes. */
  writable(): Promise<void>
}

/** Who is asked besides the store, and with which settings. */
export interface ResolvedUpstream {
  route: UpstreamRoute
  settings: UpstreamConfig
  /** Where the settings stand in the file. */
  section: string
}

/** Where a pull of a reference leads. */
export interface ResolvedReference {
  mode: PullRoute['mode']
  name: Name
  /** The name in the store. */
  storedName: Name
  /** Absent in Local. */
  upstream?: ResolvedUpstream
}

/** The place of a reference; `unknown-host` for a host that is neither this registry nor configured. */
export function resolveReference(
  { host, name }: PodReference,
  { config, upstreams }: Pick<WhyContext, 'config' | 'upstreams'>
): ResolvedReference | 'unknown-host' {
  const { mode, upstream: own, upstreams: others } = config.registry
  if (host === undefined || isOwn(host, config)) {
    const asked = own && upstreams.get(keyOfOwn(own))
    if (mode === 'Local' || !asked) return { mode: 'Local', name, storedName: name }
    const route = ownRoute(config.server.path, own, asked)
    return { mode, name, storedName: name, upstream: { route, settings: own, section: `registry.${mode.toLowerCase()}` } }
  }
  const settings = Object.hasOwn(others, host) ? others[host] : undefined
  const asked = settings && upstreams.get(keyOfNamespace(host))
  if (!asked) return 'unknown-host'
  const route = namespaceRoute(host, asked)
  const behind = { route, settings, section: `registry.upstreams."${host}"` }
  return { mode: settings.policy === 'cache' ? 'Proxy' : 'Direct', name, storedName: route.contentName(name), upstream: behind }
}

// Somebody who is on the node itself may write down the port where it listens.
function isOwn(host: string, { server }: Config): boolean {
  const { port } = server.listen
  const bound = server.listen.host.includes(':') ? `[${server.listen.host}]` : server.listen.host
  const loopback = ['127.0.0.1', 'localhost', '[::1]', bound].map(each => `${each}:${port}`)
  return [...server.names, ...loopback].some(each => each.toLowerCase() === host)
}
