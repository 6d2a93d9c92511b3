import type { Config, UpstreamConfig } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import { keyOfNamespace, keyOfOwn } from '../backend/build.ts'
import { namespaceRoute, ownRoute } from '../backend/routes.ts'
import type { UpstreamRoute } from '../backend/upstream-route.ts'
import type { Content } from '../content/content.ts'
import type { Name } from '../oci/name.ts'
import type { PodReference } from '../oci/pod-reference.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Route } from './report.ts'

/** What the running process has to look at; the configuration and the upstreams are those in force. */
export interface View {
  config: Config
  content: Content
  storage: Storage
  /** By `<host>/<path>`. */
  upstreams: ReadonlyMap<string, Upstream>
  /** Rejects unless the medium takes bytes. */
  writable(): Promise<void>
}

/** Who is asked besides the store, and with which settings. */
export interface Behind {
  route: UpstreamRoute
  settings: UpstreamConfig
  /** Where the settings stand in the file. */
  section: string
}

/** Where a pull of a reference leads. */
export interface Place {
  mode: Route['mode']
  name: Name
  /** The name in the store. */
  stored: Name
  /** Absent in Local. */
  behind?: Behind
}

/** The place of a reference; `unknown-host` for a host that is neither this registry nor configured. */
export function placeOf({ host, name }: PodReference, { config, upstreams }: Pick<View, 'config' | 'upstreams'>): Place | 'unknown-host' {
  const { mode, upstream: own, upstreams: others } = config.registry
  if (host === undefined || isOwn(host, config)) {
    const asked = own && upstreams.get(keyOfOwn(own))
    if (mode === 'Local' || !asked) return { mode: 'Local', name, stored: name }
    const route = ownRoute(config.server.path, own, asked)
    return { mode, name, stored: name, behind: { route, settings: own, section: `registry.${mode.toLowerCase()}` } }
  }
  const settings = Object.hasOwn(others, host) ? others[host] : undefined
  const asked = settings && upstreams.get(keyOfNamespace(host))
  if (!asked) return 'unknown-host'
  const route = namespaceRoute(host, asked)
  const behind = { route, settings, section: `registry.upstreams."${host}"` }
  return { mode: settings.policy === 'cache' ? 'Proxy' : 'Direct', name, stored: route.contentName(name), behind }
}

// Somebody who is on the node itself may write down the port where it listens.
function isOwn(host: string, { server }: Config): boolean {
  const { port } = server.listen
  const bound = server.listen.host.includes(':') ? `[${server.listen.host}]` : server.listen.host
  const loopback = ['127.0.0.1', 'localhost', '[::1]', bound].map(each => `${each}:${port}`)
  return [...server.names, ...loopback].some(each => each.toLowerCase() === host)
}
