import { isListed, isSameHost } from '../connection/hosts.ts'
import { UpstreamError } from '../error.ts'

// Public registries whose tokens come from another host of the same operator.
const knownTokenHosts: ReadonlyMap<string, string> = new Map([
  ['registry-1.docker.io', 'auth.docker.io'],
  ['registry.gitlab.com', 'gitlab.com'],
  ['docker.elastic.co', 'docker-auth.elastic.co'],
  ['registry.digitalocean.com', 'api.digitalocean.com']
])

/**
 * Checks a token realm, which the upstream names and to which credentials are sent. It has to be on the endpoint's host
 * and port or on a host of `tokenHosts`: what another service of the host or the domain gives out is not the
 * upstream's.
 */
export function checkRealm(realm: string | undefined, endpoint: URL, tokenHosts: readonly string[]): URL {
  const url = URL.parse(realm ?? '')
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) throw refusal(endpoint, 'invalid', 'names no token realm')
  if (url.username !== '' || url.password !== '') throw refusal(endpoint, 'refused', 'has credentials in its token realm')
  if (endpoint.protocol === 'https:' && url.protocol !== 'https:')
    throw refusal(endpoint, 'refused', `wants tokens over http from ${url.host}`)
  if (!isTokenHost(url, endpoint, tokenHosts))
    throw refusal(endpoint, 'refused', `wants tokens from ${url.host}, which is neither its own host and port nor in upstream.tokenHosts`)
  url.hash = ''
  return url
}

/** Whether tokens for an endpoint may come from this URL. */
export function isTokenHost(url: URL, endpoint: URL, tokenHosts: readonly string[]): boolean {
  return isSameHost(url, endpoint) || isListed(url, tokenHosts) || isKnown(url, endpoint)
}

function isKnown(url: URL, endpoint: URL): boolean {
  return url.protocol === 'https:' && url.port === '' && knownTokenHosts.get(endpoint.host) === url.hostname
}

function refusal(endpoint: URL, kind: 'refused' | 'invalid', what: string): UpstreamError {
  return new UpstreamError(kind, `${endpoint.host}: the challenge ${what}`, { endpoint: endpoint.host, code: 'REALM' })
}
