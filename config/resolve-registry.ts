import type { Config, NamespaceConfig, RouteConfig, Settings, UpstreamConfig } from './schema.ts'
import { valid, withoutPrototype } from './valid.ts'
import { parseCertificates } from './values/certificates.ts'
import { baseUrl, parseHost, parseImagesRepo } from './values/hosts.ts'
import { formatDuration, parseDuration } from './values/units.ts'

type RegistrySettings = Settings['registry']
type ReachSettings = RegistrySettings['upstreams'][string]

// The name of the account that a license belongs to at Deckhouse's own registry.
const LICENSE_USER = 'license-token'
// docker.io answers browsers; its registry is elsewhere, and every client knows that by heart.
const DIALLED: ReadonlyMap<string, string> = new Map([['docker.io', 'registry-1.docker.io']])

/** The effective `registry` of validated settings. */
export const registryIn = (registry: RegistrySettings): Config['registry'] => {
  const upstream = routeIn(registry)
  const upstreams = Object.entries(registry.upstreams).map(([key, settings]) => {
    const host = valid(parseHost(key))
    return [host, { ...reachIn(settings, { host, path: '' }), policy: settings.policy }] as const
  })
  return { mode: registry.mode, ...(upstream && { upstream }), upstreams: withoutPrototype(upstreams) }
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

const routeIn = ({ mode, direct, proxy }: RegistrySettings): RouteConfig | undefined => {
  if (mode === 'Direct' && direct) return commonIn(direct)
  return mode === 'Proxy' && proxy ? { ...commonIn(proxy), ttl: valid(parseDuration(proxy.ttl)) } : undefined
}

const commonIn = (settings: NonNullable<RegistrySettings['direct']>): RouteConfig => ({
  ...reachIn(settings, valid(parseImagesRepo(settings.imagesRepo))),
  checkMode: settings.checkMode
})

const reachIn = (settings: Omit<ReachSettings, 'policy'>, { host, path }: { host: string; path: string }): UpstreamConfig => {
  const endpoints = settings.endpoints ?? [DIALLED.get(host) ?? host]
  const credentials = credentialsIn(settings)
  const ca = parseCertificates(settings.ca ?? '')
  return {
    host,
    path,
    endpoints: [...new Set(endpoints.map(endpoint => baseUrl(settings.scheme, valid(parseHost(endpoint)))))],
    ...(credentials && { credentials }),
    ...(ca !== undefined && { ca })
  }
}

const credentialsIn = ({ license, username, password }: Omit<ReachSettings, 'policy'>): UpstreamConfig['credentials'] => {
  if (license) return { username: LICENSE_USER, password: license }
  return username && password ? { username, password } : undefined
}

const routeSettingsOf = (route: RouteConfig) => ({
  imagesRepo: [route.host, route.path].filter(Boolean).join('/'),
  ...reachSettingsOf(route),
  checkMode: route.checkMode,
  ...(route.ttl !== undefined && { ttl: formatDuration(route.ttl) })
})

const namespaceSettingsOf = (namespace: NamespaceConfig) => ({ ...reachSettingsOf(namespace), policy: namespace.policy })

const reachSettingsOf = ({ endpoints, credentials, ca }: UpstreamConfig) => ({
  scheme: endpoints.some(endpoint => endpoint.startsWith('https:')) ? 'HTTPS' : 'HTTP',
  ...credentials,
  ...(ca !== undefined && { ca }),
  endpoints: endpoints.map(endpoint => new URL(endpoint).host)
})
