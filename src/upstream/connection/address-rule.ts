import type { UpstreamOptions } from '../options.ts'
import { literalAddress, type SpecialRange, specialRange } from './addresses.ts'
import { isListed, isSameHost } from './hosts.ts'

/** What a request is for. */
export type Purpose = 'content' | 'token'

/** A hop leads to a special address that the settings do not allow. */
export class RefusedAddress extends Error {
  readonly code = 'ADDRESS_REFUSED'
}

/** Whether the settings name the host and port of a hop: `configured`, or `foreign` if only an upstream does. */
export type Trust = 'configured' | 'foreign'

// No registry, store or token service is there, whatever the settings say.
const closed: ReadonlySet<SpecialRange> = new Set(['metadata', 'unspecified', 'multicast'])

/**
 * Where a hop of any request may lead (SSRF): endpoint, redirect, token realm, upload location. A host and port of the
 * settings may have any address but those of metadata services; any other host must not have a special address.
 * An endpoint's own port counts with its host, since the upstream's owner chooses the address of the name.
 */
export class AddressRule {
  readonly #options: Pick<UpstreamOptions, 'endpoints' | 'tokenHosts' | 'redirectHosts'>
  /** Names of the settings that had an address beyond this machine. */
  readonly #beyond = new Set<string>()

  constructor(options: Pick<UpstreamOptions, 'endpoints' | 'tokenHosts' | 'redirectHosts'>) {
    this.#options = options
  }

  /**
   * The trust in a hop; RefusedAddress if its host is an address that is not allowed, or a name that stands for one. A
   * proxy resolves names itself: by `proxy` no more than the name can be checked, by any other way the lookup is.
   */
  check(url: URL, purpose: Purpose, by: 'proxy' | 'lookup'): Trust {
    const { endpoints, tokenHosts, redirectHosts } = this.#options
    // The address of an endpoint is the administrator's choice.
    if (endpoints.some(each => isSameHost(each, url))) return 'configured'
    const trust = isListed(url, purpose === 'token' ? tokenHosts : redirectHosts) ? 'configured' : 'foreign'
    const address = literalAddress(url.hostname)
    refuse(address === undefined ? rangeOfName(url.hostname, by) : specialRange(address), url.host, trust)
    return trust
  }

  /** RefusedAddress if a host must not have the address that it resolved to. */
  checkAddress(address: string, host: string, trust: Trust): void {
    const range = specialRange(address)
    refuse(range, host, trust)
    if (trust === 'foreign') return
    // DNS rebinding: what a remote upstream redirects to itself must not be read from this machine.
    if (range !== 'loopback' && range !== 'link-local') this.#beyond.add(host)
    else if (this.#beyond.has(host)) throw new RefusedAddress(`${host} has a ${range} address, and had another one before`)
  }
}

function refuse(range: SpecialRange | undefined, host: string, trust: Trust): void {
  if (range === undefined || (trust === 'configured' && !closed.has(range))) return
  const allowed = closed.has(range) ? '' : ' that upstream.redirectHosts does not allow'
  throw new RefusedAddress(`${host} has a ${range} address${allowed}`)
}

const metadataNames = /^(metadata(\.goog|\.google\.internal|\.azure\.internal|\.tencentyun\.com)?|instance-data(\.ec2\.internal)?)$/
// RFC 6761, RFC 6762, RFC 8375, the private-use TLD of ICANN, and names without a dot.
const privateNames = /^[^.:[\]]+$|\.(local|internal|localdomain|home\.arpa|svc)$/

function rangeOfName(name: string, by: 'proxy' | 'lookup'): SpecialRange | undefined {
  const plain = name.replace(/\.$/, '')
  if (plain === 'localhost' || plain.endsWith('.localhost')) return 'loopback'
  if (metadataNames.test(plain)) return 'metadata'
  return by === 'proxy' && privateNames.test(plain) ? 'private' : undefined
}
