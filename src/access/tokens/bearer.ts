import type { KeyObject } from 'node:crypto'
import { type IssuedToken, type IssuerOptions, issueToken, type Subject } from './issuer.ts'
import type { Claims, Expected } from './jwt.ts'
import type { SigningKeys } from './keys.ts'
import { type AccessEntry, scopeOf, type TokenScope } from './scope.ts'
import { TokenError } from './token-error.ts'

/** Signs and verifies. It is a module of its own, so that only a process with tokens has the library in memory. */
export type Jwt = Pick<typeof import('./jwt.ts'), 'signJwt' | 'verifyJwt' | 'clockSkewSeconds'>

/** Tokens that this registry issues. */
export interface OwnTokens extends IssuerOptions {
  keys(): SigningKeys
}

/** Tokens of service accounts, which another issuer gives out (OpenID Connect Core §2). */
export interface ServiceAccountTokens {
  readonly issuers: readonly string[]
  readonly audience: string
  /** Public keys by id. */
  keys(): ReadonlyMap<string, KeyObject>
  /** A token names a key that is not among them; it may be a new one. */
  onUnknownKey(): void
}

/** What a verified token says of its bearer. */
export interface Bearer {
  /** Absent if anonymous. */
  readonly user?: string
  /** Present if the user has a password: the fingerprint of the passwords when the token was issued. */
  readonly passwords?: string
  /** Present in a token that this registry issued. */
  readonly scope?: TokenScope
  /** In milliseconds since the epoch; what differs between clocks (`skewMs`) is to be added. */
  readonly endsAt: number
}

// With the public key as its secret, HS256 would let the client sign (RFC 8725 §2.1): only signatures with key pairs.
const serviceAccountAlgorithms = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']

// A subject is logged and compared. No issuer has longer ones (OpenID Connect Core §2: 255 ASCII characters).
const subjectForm = /^[\x21-\x7e]{1,255}$/

/** Verifies tokens by the key that they name; rejects with a TokenError if one is refused. `now` is in milliseconds. */
export class BearerVerifier {
  readonly #jwt: Jwt
  readonly #own: OwnTokens | undefined
  readonly #serviceAccounts: ServiceAccountTokens | undefined

  constructor(jwt: Jwt, own: OwnTokens | undefined, serviceAccounts: ServiceAccountTokens | undefined) {
    this.#jwt = jwt
    this.#own = own
    this.#serviceAccounts = serviceAccounts
  }

  /** How far clocks may differ, in milliseconds. */
  get skewMs(): number {
    return this.#jwt.clockSkewSeconds * 1000
  }

  async verify(token: string, now: number): Promise<Bearer> {
    const id = keyIdOf(token)
    const own = this.#own
    const keys = own?.keys().verifying
    if (own && keys && id !== undefined && keys.has(id)) {
      const { service } = own
      const claims = await this.#verify(token, { keys, algorithms: ['ES256'], issuers: [service], audience: service }, now)
      return ownBearer(claims)
    }
    if (!this.#serviceAccounts) throw new TokenError('no key has the id of the token')
    return await this.#verifyServiceAccount(this.#serviceAccounts, token, id, now)
  }

  /** Issues a token of this registry. */
  async issue(subject: Subject | undefined, access: readonly AccessEntry[], now: number): Promise<IssuedToken> {
    if (!this.#own) throw new Error('no keys are configured to sign tokens with')
    return await issueToken(this.#own, this.#own.keys(), { subject, access, now, sign: this.#jwt.signJwt })
  }

  async #verifyServiceAccount(
    { issuers, audience, keys, onUnknownKey }: ServiceAccountTokens,
    token: string,
    id: string | undefined,
    now: number
  ): Promise<Bearer> {
    if (id !== undefined && !keys().has(id)) onUnknownKey()
    const claims = await this.#verify(token, { keys: keys(), algorithms: serviceAccountAlgorithms, issuers, audience }, now)
    if (claims.sub === undefined) throw new TokenError('the token has no subject')
    return { user: subject(claims.sub), endsAt: claims.exp * 1000 }
  }

  async #verify(token: string, expected: Expected, now: number): Promise<Claims> {
    try {
      return await this.#jwt.verifyJwt(token, expected, now)
    } catch (cause) {
      throw new TokenError((cause as Error).message, { cause })
    }
  }
}

function ownBearer({ sub, passwords, access, exp }: Claims): Bearer {
  return {
    ...(sub === undefined ? {} : { user: sub }),
    ...(typeof passwords === 'string' ? { passwords } : {}),
    scope: scopeOf(access),
    endsAt: exp * 1000
  }
}

function subject(text: string): string {
  if (!subjectForm.test(text)) throw new TokenError('the subject of the token is not 1 to 255 visible ASCII characters')
  return text
}

/** The `kid` of a token's header (RFC 7515 §4.1.4), unverified. */
function keyIdOf(token: string): string | undefined {
  const header = headerOf(token)
  const id = header !== null && typeof header === 'object' && 'kid' in header ? header.kid : undefined
  return typeof id === 'string' ? id : undefined
}

function headerOf(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString('utf8'))
  } catch (cause) {
    throw new TokenError('the token is not well-formed', { cause })
  }
}
