import { LRUCache } from 'lru-cache'
import type { Connections } from '../connection/connections.ts'
import type { UpstreamEvent, UpstreamOptions } from '../options.ts'
import { abortable, SingleFlight } from '../single-flight.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { checkRealm } from './realm.ts'
import { requestToken } from './token-service.ts'

/** The value of an `Authorization` field; `fresh` if it was obtained for this request. */
export interface Authorization {
  value: string
  fresh: boolean
}

/** The authentication that an endpoint requires for a scope. */
type RequiredAuth = { scheme: 'basic' } | { scheme: 'bearer'; realm: URL; service: string; scope: string }

interface Token {
  value: string
  renewAt: number
  expiresAt: number
}

const maxEntries = 10_000
const maxScopeLength = 1024

/**
 * Credentials and tokens for one upstream. None is sent before an endpoint has sent a challenge. Challenges are cached
 * by endpoint and scope, tokens by endpoint, realm, service and scope. Keys are JSON, so that no two lists of strings
 * have the same key.
 */
export class Authorizations {
  readonly #options: UpstreamOptions
  readonly #connections: Connections
  readonly #now: () => number
  readonly #observe: (event: UpstreamEvent) => void
  readonly #required = new LRUCache<string, RequiredAuth>({ max: maxEntries })
  readonly #tokens = new LRUCache<string, Token>({ max: maxEntries })
  readonly #renewals = new SingleFlight<Token>()

  constructor(
    options: UpstreamOptions,
    { connections, now, observe }: { connections: Connections; now: () => number; observe: (event: UpstreamEvent) => void }
  ) {
    this.#options = options
    this.#connections = connections
    this.#now = now
    this.#observe = observe
  }

  /** By the cached challenge for `scope`; undefined before the first one. */
  async known(endpoint: URL, scope: string, signal: AbortSignal): Promise<Authorization | undefined> {
    const required = this.#required.get(keyOf(endpoint.origin, scope))
    return required && (await this.#authorize(endpoint, required, signal))
  }

  /** What to send after a 401; undefined if it would be the same again. */
  async answer(
    endpoint: URL,
    scope: string,
    { field, sent, signal }: { field: string | string[] | undefined; sent: Authorization | undefined; signal: AbortSignal }
  ): Promise<Authorization | undefined> {
    const challenges = parseChallenges(field)
    const challenge = challenges.find(each => each.scheme === 'bearer') ?? challenges.find(each => each.scheme === 'basic')
    if (!challenge) return undefined
    const required = this.#requiredBy(challenge, endpoint, scope)
    this.#required.set(keyOf(endpoint.origin, scope), required)
    if (required.scheme === 'bearer') this.#drop(tokenKey(endpoint, required), challenge, sent)
    const better = await this.#authorize(endpoint, required, signal)
    return better?.value === sent?.value ? undefined : better
  }

  #requiredBy({ scheme, parameters }: Challenge, endpoint: URL, requested: string): RequiredAuth {
    if (scheme === 'basic') return { scheme }
    const realm = checkRealm(parameters.get('realm'), endpoint, this.#options.tokenHosts)
    const scope = parameters.get('scope') ?? ''
    return {
      scheme: 'bearer',
      realm,
      service: parameters.get('service') ?? '',
      scope: scope && scope.length <= maxScopeLength ? scope : requested
    }
  }

  // A refused token is dropped, unless it is fresh and the challenge does not call it invalid: then the right is
  // missing.
  #drop(key: string, { parameters }: Challenge, sent: Authorization | undefined): void {
    const token = this.#tokens.get(key)
    if (!token || sent?.value !== bearer(token)) return
    if (!sent.fresh || parameters.get('error') === 'invalid_token') this.#tokens.delete(key)
  }

  async #authorize(endpoint: URL, required: RequiredAuth, signal: AbortSignal): Promise<Authorization | undefined> {
    if (required.scheme === 'basic') {
      const value = this.#basic()
      return value === undefined ? undefined : { value, fresh: true }
    }
    const cached = this.#tokens.get(tokenKey(endpoint, required))
    if (cached && this.#now() < cached.renewAt) return { value: bearer(cached), fresh: false }
    try {
      return { value: bearer(await abortable(this.#renew(endpoint, required), signal)), fresh: true }
    } catch (error) {
      // Tokens are renewed early: while the token service fails, the old one is still valid.
      if (cached && this.#now() < cached.expiresAt && !signal.aborted) return { value: bearer(cached), fresh: false }
      throw error
    }
  }

  // A renewal belongs to none of the requests that wait for it.
  async #renew(endpoint: URL, required: RequiredAuth & { scheme: 'bearer' }): Promise<Token> {
    const key = tokenKey(endpoint, required)
    const { value } = await this.#renewals.run(key, async () => {
      const token = await this.#request(endpoint, required)
      this.#tokens.set(key, token)
      return token
    })
    return value
  }

  async #request(endpoint: URL, { realm, service, scope }: RequiredAuth & { scheme: 'bearer' }): Promise<Token> {
    const url = new URL(realm)
    if (service !== '') url.searchParams.set('service', service)
    for (const each of scope.split(' ').filter(part => part !== '')) url.searchParams.append('scope', each)
    const { headerTimeout, connectTimeout } = this.#options.limits
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
    const { credentials } = this.#options
    return credentials && `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`
  }
}

function tokenKey(endpoint: URL, { realm, service, scope }: RequiredAuth & { scheme: 'bearer' }): string {
  return keyOf(endpoint.origin, realm.href, service, scope)
}

function keyOf(...parts: string[]): string {
  return JSON.stringify(parts)
}

function bearer({ value }: Token): string {
  return `Bearer ${value}`
}
