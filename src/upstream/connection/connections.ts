import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { Agent, type Dispatcher, Pool, ProxyAgent } from 'undici'
import type { UpstreamOptions } from '../options.ts'
import { AddressRule, type Purpose, type Trust } from './address-rule.ts'
import { checkedLookup } from './addresses.ts'
import { parseNoProxy } from './no-proxy.ts'

/**
 * What a request carries: bodies of blobs, which may take hours, or something small, which does not wait for those; a
 * probe waits for neither.
 */
export type Cargo = 'blobs' | 'small' | 'probe'

// Registries close idle connections after about a minute; one that is about to be closed must not be reused.
const keepAliveTimeout = 30_000

/**
 * Connections to one upstream and to the hosts of its redirects and realms. The address rule is checked in the lookup
 * of the connection itself, so that DNS rebinding does not get around it.
 */
export class Connections {
  readonly #options: UpstreamOptions
  readonly #lookup: LookupFunction
  readonly #rule: AddressRule
  readonly #dispatchers = new Map<string, Dispatcher>()
  readonly #direct: (url: URL) => boolean
  #context: SecureContext | undefined

  constructor(options: UpstreamOptions, lookup: LookupFunction = systemLookup) {
    this.#options = options
    this.#lookup = lookup
    this.#rule = new AddressRule(options)
    this.#direct = parseNoProxy(options.proxy?.none)
  }

  /** The dispatcher for one hop of a request; RefusedAddress if it must not go there. */
  to(url: URL, purpose: Purpose, cargo: Cargo): Dispatcher {
    const proxy = this.#proxyFor(url)
    const trust = this.#rule.check(url, purpose, proxy === undefined ? 'lookup' : 'proxy')
    const key = JSON.stringify([trust, url.protocol, proxy ?? '', cargo])
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

  #agent(trust: Trust, protocol: string): Agent {
    const lookup = checkedLookup(this.#lookup, (address, host) => this.#rule.checkAddress(address, host, trust))
    const tls = protocol === 'https:' ? { secureContext: this.#secureContext() } : {}
    return new Agent({ ...this.#limits(), connect: { lookup, ...tls, timeout: this.#options.limits.connectTimeout } })
  }

  // A proxy resolves names itself, so only the host in the URL can be checked.
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
    const { ca, roots } = this.#options
    const own = ca === undefined ? [] : [ca]
    const others = () => (roots === 'own' ? [] : [...new Set([...getCACertificates('default'), ...getCACertificates('system')])])
    this.#context ??= createSecureContext({ ca: [...others(), ...own] })
    return this.#context
  }
}
