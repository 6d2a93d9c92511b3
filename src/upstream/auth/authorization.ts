import { LRUCache } from 'lru-cache'
import type { Connections } from '../connection/connections.ts'
import { isLimited, pauseMsOf, UpstreamError } from '../error.ts'
import type { UpstreamEvent, UpstreamOptions } from '../options.ts'
import { abortable, SingleFlight } from '../single-flight.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { checkRealm, isTokenHost } from './realm.ts'
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

/** The circuit breaker of one token: until then the token service is not requested again for it. */
interface Pause {
  until: number
  reason: string
}

// By bytes: a token may have 64 KiB, and each repository has its own. Some thousand of usual size.
const maxCachedBytes = 4 * 1024 * 1024
// While the token service fails, a token that is still valid serves, and is not renewed with every request.
const renewPauseMs = 5_000
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
  readonly #required = new LRUCache<string, RequiredAuth>({ maxSize: maxCachedBytes, sizeCalculation: sizeOfRequired })
  readonly #tokens = new LRUCache<string, Token>({ maxSize: maxCachedBytes, sizeCalculation: ({ value }, key) => sizeOf(value, key) })
  readonly #pauses = new LRUCache<string, Pause>({ maxSize: maxCachedBytes, sizeCalculation: ({ reason }, key) => sizeOf(reason, key) })
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
    const key = keyOf(endpoint.origin, scope)
    const required = this.#required.get(key)
    return required && (await this.#authorize(endpoint, { required, key }, signal))
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
    const key = keyOf(endpoint.origin, scope)
    this.#required.set(key, required)
    if (required.scheme === 'bearer') this.#drop(tokenKey(endpoint, required), challenge, sent)
    const better = await this.#authorize(endpoint, { required, key }, signal)
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

  // A challenge whose token service fails is forgotten: the upstream is asked again, which may name another one.
  async #authorize(
    endpoint: URL,
    { required, key }: { required: RequiredAuth; key: string },
    signal: AbortSignal
  ): Promise<Authorization | undefined> {
    if (required.scheme === 'basic') {
      const value = this.#basic()
      return value === undefined ? undefined : { value, fresh: true }
    }
    const cached = this.#tokens.get(tokenKey(endpoint, required))
    if (cached && this.#now() < Math.min(cached.renewAt, cached.expiresAt)) return { value: bearer(cached), fresh: false }
    try {
      return { value: bearer(await abortable(this.#renew(endpoint, required), signal)), fresh: true }
    } catch (error) {
      signal.throwIfAborted()
      // Tokens are renewed early: while the token service fails, the old one is still valid.
      if (cached && this.#now() < cached.expiresAt) return { value: bearer(cached), fresh: false }
      if (!isLimited(error) && this.#required.get(key) === required) this.#required.delete(key)
      throw error
    }
  }

  // A renewal belongs to none of the requests that wait for it.
  async #renew(endpoint: URL, required: RequiredAuth & { scheme: 'bearer' }): Promise<Token> {
    const key = tokenKey(endpoint, required)
    const { value } = await this.#renewals.run(key, async () => {
      this.#checkPause(key, endpoint)
      try {
        const token = await this.#request(endpoint, required)
        this.#tokens.set(key, token)
        return token
      } catch (error) {
        this.#pause(key, error)
        throw error
      }
    })
    return value
  }

  #checkPause(key: string, endpoint: URL): void {
    const pause = this.#pauses.get(key)
    const left = pause ? pause.until - this.#now() : 0
    if (!pause || left <= 0) return
    const message = `${pause.reason}; another token is requested in ${Math.ceil(left / 1000)} s`
    throw new UpstreamError('limited', message, { endpoint: endpoint.host, code: 'TOKEN', retryAfter: left })
  }

  #pause(key: string, error: unknown): void {
    const until = this.#now() + (isLimited(error) ? pauseMsOf(error) : renewPauseMs)
    if (isLimited(error)) this.#pauses.set(key, { until, reason: error.message })
    const token = this.#tokens.get(key)
    if (token) token.renewAt = until
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
    const follows = (next: URL) => next.origin === realm.origin || isTokenHost(next, endpoint, this.#options.tokenHosts)
    try {
      const { token, lifetime } = await requestToken(this.#connections, { url, ...secret, endpoint: endpoint.host, follows, now, signal })
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

// What an entry takes besides its texts.
const entryBytes = 256

function sizeOf(...texts: string[]): number {
  return texts.reduce((sum, each) => sum + each.length, entryBytes)
}

function sizeOfRequired(required: RequiredAuth, key: string): number {
  // A URL keeps its text, and its parts as they are asked for.
  return required.scheme === 'basic' ? sizeOf(key) : sizeOf(key, required.realm.href, required.realm.href, required.service, required.scope)
}

function bearer({ value }: Token): string {
  return `Bearer ${value}`
}
