import { withoutPrototype } from './read/walk.ts'
import type { Config, NamespaceConfig, RouteConfig, TypedSettings, UpstreamConfig } from './schema.ts'
import type { Revalidation } from './sections/registry.ts'
import { valid } from './values/codecs.ts'
import { baseUrl, parseHost } from './values/hosts.ts'

type RegistrySettings = TypedSettings['registry']
/** How an upstream is reached, as typed settings. */
export type ReachSettings = Omit<RegistrySettings['upstreams'][string], 'policy' | 'revalidate'> & { revalidate?: Revalidation }

// The user that a license belongs to at Deckhouse's own registry.
const LICENSE_USER = 'license-token'
// docker.io answers browsers; its registry is at another host, which every client has built in.
const CONNECT_TO: ReadonlyMap<string, string> = new Map([['docker.io', 'registry-1.docker.io']])
// Docker Hub counts each GET of a manifest as a pull, and a HEAD not.
const COUNTING: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])

/** The effective `registry`. */
export const registryIn = ({ mode, direct, proxy, upstreams }: RegistrySettings): Config['registry'] => {
  const upstream =
    mode === 'Direct' ? direct && routeIn(direct) : mode === 'Proxy' ? proxy && { ...routeIn(proxy), ttl: proxy.ttl } : undefined
  const namespaces = Object.entries(upstreams).map(([key, settings]) => {
    const host = valid(parseHost(key))
    return [host, { ...reachIn(settings, { host, path: '' }), policy: settings.policy }] as const
  })
  return { mode, ...(upstream && { upstream }), upstreams: withoutPrototype(namespaces) }
}

/** The settings that resolve to this `registry`; a license has become a user and a password. */
export const registrySettingsOf = ({ mode, upstream, upstreams }: Config['registry']): Record<string, unknown> => {
  const section = mode === 'Direct' ? 'direct' : 'proxy'
  return {
    mode,
    ...(upstream && { [section]: routeSettingsOf(upstream) }),
    upstreams: Object.fromEntries(Object.entries(upstreams).map(([host, each]) => [host, namespaceSettingsOf(each)]))
  }
}

const routeIn = (settings: NonNullable<RegistrySettings['direct']>): RouteConfig => ({
  ...reachIn(settings, settings.imagesRepo),
  checkMode: settings.checkMode
})

/** The upstream at `host`, of the settings that say how it is reached. */
export const reachIn = (settings: ReachSettings, { host, path }: { host: string; path: string }): UpstreamConfig => {
  const { ca, scheme, endpoints = [CONNECT_TO.get(host) ?? host], revalidate } = settings
  const credentials = credentialsIn(settings)
  return {
    host,
    path,
    endpoints: [...new Set(endpoints.map(endpoint => baseUrl(scheme, endpoint)))],
    ...(credentials && { credentials }),
    ...(ca !== undefined && { ca }),
    ...(revalidate && { revalidate: revalidationOf(revalidate, [host, ...endpoints]) })
  }
}

const revalidationOf = (set: Revalidation, hosts: readonly string[]): 'head' | 'get' =>
  set !== 'auto' ? set : hosts.some(host => COUNTING.has(host)) ? 'head' : 'get'

const credentialsIn = ({ license, username, password }: ReachSettings): UpstreamConfig['credentials'] => {
  if (license) return { username: LICENSE_USER, password: license }
  return username && password ? { username, password } : undefined
}

const routeSettingsOf = ({ host, path, checkMode, ttl, ...route }: RouteConfig) => ({
  imagesRepo: { host, path },
  ...reachSettingsOf(route),
  checkMode,
  ...(ttl !== undefined && { ttl })
})

const namespaceSettingsOf = (namespace: NamespaceConfig) => ({ ...reachSettingsOf(namespace), policy: namespace.policy })

const reachSettingsOf = ({ endpoints, credentials, ca, revalidate }: Omit<UpstreamConfig, 'host' | 'path'>) => ({
  scheme: endpoints.some(endpoint => endpoint.startsWith('https:')) ? 'HTTPS' : 'HTTP',
  ...credentials,
  ...(ca !== undefined && { ca }),
  endpoints: endpoints.map(endpoint => new URL(endpoint).host),
  ...(revalidate && { revalidate })
})
