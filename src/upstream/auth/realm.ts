import { getDomain } from 'tldts'
import { UpstreamError } from '../error.ts'

/**
 * Checks a token realm, which the upstream names and to which credentials are sent. It has to be on the endpoint's
 * host, in its registrable domain (by the public suffix list, which keeps two customers of one hoster apart) or on a
 * host of `tokenHosts`.
 */
export function checkRealm(realm: string | undefined, endpoint: URL, tokenHosts: readonly string[]): URL {
  const url = URL.parse(realm ?? '')
  // A host with an empty label is malformed, but the public suffix list would find a domain in it.
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:') || /^\.|\.\./.test(url.hostname))
    throw refusal(endpoint, 'invalid', 'names no token realm')
  if (url.username !== '' || url.password !== '') throw refusal(endpoint, 'refused', 'has credentials in its token realm')
  if (endpoint.protocol === 'https:' && url.protocol !== 'https:')
    throw refusal(endpoint, 'refused', `wants tokens over http from ${url.host}`)
  if (!isNear(url, endpoint) && !tokenHosts.some(host => host === url.host || host === url.hostname)) {
    throw refusal(endpoint, 'refused', `wants tokens from ${url.host}, which is neither its own domain nor an allowed host`)
  }
  url.hash = ''
  return url
}

function isNear(realm: URL, endpoint: URL): boolean {
  if (realm.hostname === endpoint.hostname) return true
  const options = { allowPrivateDomains: true }
  const domain = getDomain(endpoint.hostname, options)
  return domain !== null && domain === getDomain(realm.hostname, options)
}

function refusal(endpoint: URL, kind: 'refused' | 'invalid', what: string): UpstreamError {
  return new UpstreamError(kind, `${endpoint.host}: the challenge ${what}`, { endpoint: endpoint.host, code: 'REALM' })
}
