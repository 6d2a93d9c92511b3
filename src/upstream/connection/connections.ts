import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { Agent, type Dispatcher, Pool, ProxyAgent } from 'undici'
import type { UpstreamOptions } from '../options.ts'
import { literalAddress, type SpecialRange, specialRange, watchedLookup } from './addresses.ts'
import { parseNoProxy } from './no-proxy.ts'

// Registries close idle connections after about a minute; one that is about to be closed must not be reused.
const keepAliveTimeout = 30_000

/** A redirect or a realm leads to a special address where the upstream is not. */
export class RefusedAddress extends Error {
  readonly code = 'ADDRESS_REFUSED'
}

/**
 * Connections to one upstream and to the hosts of its redirects and realms. Hosts of the options are trusted. Any other
 * host is refused if it is, or resolves to, a special address in a range where no endpoint is (SSRF). The check is made
 * in the lookup of the connection itself, so that DNS rebinding does not get around it.
 */
export class Connections {
  readonly #options: UpstreamOptions
  readonly #lookup: LookupFunction
  readonly #trusted: ReadonlySet<string>
  readonly #upstreamRanges = new Set<SpecialRange>()
  readonly #dispatchers = new Map<string, Dispatcher>()
  readonly #direct: (url: URL) => boolean
  #context: SecureContext | undefined

  constructor(options: UpstreamOptions, lookup: LookupFunction = systemLookup) {
    this.#options = options
    this.#lookup = lookup
    const listed = options.tokenHosts.flatMap(host => URL.parse(`https://${host}`)?.hostname ?? [])
    this.#trusted = new Set([...options.endpoints.map(each => each.hostname), ...listed])
    this.#direct = parseNoProxy(options.proxy?.none)
    for (const { hostname } of options.endpoints) this.#learn(literalAddress(hostname))
  }

  /** The dispatcher for a URL; RefusedAddress if its host is a special address. */
  to(url: URL): Dispatcher {
    const trust = this.#trusted.has(url.hostname) ? 'trusted' : 'foreign'
    if (trust === 'foreign') this.#check(literalAddress(url.hostname), url.hostname)
    const proxy = this.#proxyFor(url)
    const key = JSON.stringify([trust, url.protocol, proxy ?? ''])
    const known = this.#dispatchers.get(key)
    if (known) return known
    const made = proxy === undefined ? this.#agent(trust, url.protocol) : this.#proxyAgent(proxy)
    this.#dispatchers.set(key, made)
    return made
  }

  /** Closes every connection at once. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#dispatchers.values()].map(each => each.destroy()))
  }

  #proxyFor(url: URL): string | undefined {
    const { http, https } = this.#options.proxy ?? {}
    const proxy = url.protocol === 'https:' ? https : http
    return proxy && !this.#direct(url) ? (URL.canParse(proxy) ? proxy : `http://${proxy}`) : undefined
  }

  #agent(trust: 'trusted' | 'foreign', protocol: string): Agent {
    const see = trust === 'trusted' ? (address: string) => this.#learn(address) : (address: string) => this.#check(address)
    const lookup = watchedLookup(this.#lookup, see)
    const tls = protocol === 'https:' ? { secureContext: this.#secureContext() } : {}
    return new Agent({ ...this.#limits(), connect: { lookup, ...tls, timeout: this.#options.limits.connectTimeout } })
  }

  // A proxy resolves names itself, so only the host in the URL is checked.
  #proxyAgent(uri: string): ProxyAgent {
    const limits = this.#limits()
    const tls = { secureContext: this.#secureContext(), timeout: limits.connectTimeout }
    const clientFactory = (origin: URL, options: object) => new Pool(origin, { ...options, ...limits })
    return new ProxyAgent({ uri, ...limits, requestTls: tls, proxyTls: tls, clientFactory })
  }

  #limits() {
    const { connections, connectTimeout, headerTimeout, bodyTimeout } = this.#options.limits
    // One TCP window for all streams of an HTTP/2 connection makes large bodies slow.
    return { connections, connectTimeout, headersTimeout: headerTimeout, bodyTimeout, keepAliveTimeout, allowH2: false }
  }

  // Shared by all connections: parsing some hundred certificates takes 90 ms.
  #secureContext(): SecureContext {
    const own = this.#options.ca === undefined ? [] : [this.#options.ca]
    this.#context ??= createSecureContext({ ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system')]), ...own] })
    return this.#context
  }

  #learn(address: string | undefined): void {
    const range = address === undefined ? undefined : specialRange(address)
    if (range !== undefined) this.#upstreamRanges.add(range)
  }

  #check(address: string | undefined, name = address): void {
    const range = address === undefined ? specialRangeOfName(name) : specialRange(address)
    if (range !== undefined && (range === 'metadata' || !this.#upstreamRanges.has(range))) {
      throw new RefusedAddress(`${name} is a ${range} address, and the upstream is not there`)
    }
  }
}

function specialRangeOfName(name: string | undefined): SpecialRange | undefined {
  const plain = name?.replace(/\.$/, '')
  if (plain === 'localhost' || plain?.endsWith('.localhost')) return 'loopback'
  return plain === 'metadata.google.internal' ? 'metadata' : undefined
}
