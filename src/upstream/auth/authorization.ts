import { LRUCache } from 'lru-cache'
import type { Connections } from '../connection/connections.ts'
import type { UpstreamEvent, UpstreamOptions } from '../settings.ts'
import { abortable } from '../single-flight.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { checkRealm } from './realm.ts'
import { requestToken } from './token-service.ts'

/** The value of an `Authorization` field; `fresh` if it was obtained for this very request. */
export interface Authorization {
  value: string
  fresh: boolean
}

/** What an endpoint wants for a scope. */
type Demand = { scheme: 'basic' } | { scheme: 'bearer'; realm: URL; service: string; scope: string }

interface Token {
  value: string
  renewAt: number
  expiresAt: number
}

const mostKept = 10_000
const longestScope = 1024

/**
 * Authorization for one upstream. Nothing is sent before an endpoint has asked for it; what it asked for is remembered per endpoint and scope, tokens per endpoint,
 * realm, service and scope. Keys are JSON of the parts: no part can be mistaken for two.
 */
export class Authorizations {
  readonly #settings: UpstreamOptions
  readonly #connections: Connections
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void
  readonly #demands = new LRUCache<string, Demand>({ max: mostKept })
  readonly #tokens = new LRUCache<string, Token>({ max: mostKept })
  readonly #flights = new Map<string, Promise<Token>>()

  constructor(
    settings: UpstreamOptions,
    { connections, now, observe }: { connections: Connections; now: () => number; observe: (event: UpstreamEvent) => void }
  ) {
    this.#settings = settings
    this.#connections = connections
    this.#now = now
    this.#observe = observe
  }

  /** What the endpoint is known to want for `scope`. */
  async known(endpoint: URL, scope: string, signal: AbortSignal): Promise<Authorization | undefined> {
    const demand = this.#demands.get(keyOf(endpoint.origin, scope))
    return demand && (await this.#meet(endpoint, demand, signal))
  }

  /** What to send after a 401; undefined if there is nothing better than what was sent. */
  async answer(
    endpoint: URL,
    scope: string,
    { field, sent, signal }: { field: string | string[] | undefined; sent: Authorization | undefined; signal: AbortSignal }
  ): Promise<Authorization | undefined> {
    const challenges = parseChallenges(field)
    const challenge = challenges.find(each => each.scheme === 'bearer') ?? challenges.find(each => each.scheme === 'basic')
    if (!challenge) return undefined
    const demand = this.#demandOf(challenge, endpoint, scope)
    this.#demands.set(keyOf(endpoint.origin, scope), demand)
    if (demand.scheme === 'bearer') this.#drop(tokenKey(endpoint, demand), challenge, sent)
    const better = await this.#meet(endpoint, demand, signal)
    return better?.value === sent?.value ? undefined : better
  }

  #demandOf({ scheme, parameters }: Challenge, endpoint: URL, asked: string): Demand {
    if (scheme === 'basic') return { scheme }
    const realm = checkRealm(parameters.get('realm'), endpoint, this.#settings.tokenHosts)
    const scope = parameters.get('scope') ?? ''
    return {
      scheme: 'bearer',
      realm,
      service: parameters.get('service') ?? '',
      scope: scope && scope.length <= longestScope ? scope : asked
    }
  }

  // A token that was refused is not used again, unless it was made for this request and nobody says that the token itself is at fault.
  #drop(key: string, { parameters }: Challenge, sent: Authorization | undefined): void {
    const token = this.#tokens.get(key)
    if (!token || sent?.value !== bearer(token)) return
    if (!sent.fresh || parameters.get('error') === 'invalid_token') this.#tokens.delete(key)
  }

  async #meet(endpoint: URL, demand: Demand, signal: AbortSignal): Promise<Authorization | undefined> {
    if (demand.scheme === 'basic') {
      const value = this.#basic()
      return value === undefined ? undefined : { value, fresh: true }
    }
    const kept = this.#tokens.get(tokenKey(endpoint, demand))
    if (kept && this.#now() < kept.renewAt) return { value: bearer(kept), fresh: false }
    try {
      return { value: bearer(await abortable(this.#renew(endpoint, demand), signal)), fresh: true }
    } catch (error) {
      // Renewed ahead of time: while the service is away the old token still serves.
      if (kept && this.#now() < kept.expiresAt && !signal.aborted) return { value: bearer(kept), fresh: false }
      throw error
    }
  }

  // One request for all who wait; it belongs to none of them. No `await` between looking it up and starting it.
  #renew(endpoint: URL, demand: Demand & { scheme: 'bearer' }): Promise<Token> {
    const key = tokenKey(endpoint, demand)
    const running = this.#flights.get(key)
    if (running) return running
    const flight = this.#request(endpoint, demand)
      .then(token => {
        this.#tokens.set(key, token)
        return token
      })
      .finally(() => this.#flights.delete(key))
    this.#flights.set(key, flight)
    return flight
  }

  async #request(endpoint: URL, { realm, service, scope }: Demand & { scheme: 'bearer' }): Promise<Token> {
    const url = new URL(realm)
    if (service !== '') url.searchParams.set('service', service)
    for (const each of scope.split(' ').filter(part => part !== '')) url.searchParams.append('scope', each)
    const { headerTimeout, connectTimeout } = this.#settings.limits
    const signal = AbortSignal.timeout(connectTimeout + headerTimeout)
    const authorization = this.#basic()
    const now = this.#now()
    const secret = authorization === undefined ? {} : { authorization }
    try {
      const { token, lifetime } = await requestToken(this.#connections, { url, ...secret, endpoint: endpoint.host, now, signal })
      this.#observe({ type: 'token', endpoint: endpoint.host, result: 'granted' })
      return { value: token, renewAt: now + lifetime * 750, expiresAt: now + lifetime * 1000 }
    } catch (error) {
      this.#observe({ type: 'token', endpoint: endpoint.host, result: 'failed' })
      throw error
    }
  }

  #basic(): string | undefined {
    const { credentials } = this.#settings
    return credentials && `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`
  }
}

function tokenKey(endpoint: URL, { realm, service, scope }: Demand & { scheme: 'bearer' }): string {
  return keyOf(endpoint.origin, realm.href, service, scope)
}

function keyOf(...parts: string[]): string {
  return JSON.stringify(parts)
}

function bearer({ value }: Token): string {
  return `Bearer ${value}`
}
