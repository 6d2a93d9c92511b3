import { randomUUID } from 'node:crypto'
import type { signJwt } from './jwt.ts'
import type { SigningKeys } from './keys.ts'
import type { AccessEntry } from './scope.ts'

/** What a token says about its bearer: nothing if anonymous. */
export interface Subject {
  readonly user: string
  /** Present if the user has a password: the fingerprint of the user's passwords (`UserList`). */
  readonly passwords?: string | undefined
  /** Present if the user is known by a token of another issuer: when that one ends, in milliseconds since the epoch. */
  readonly endsAt?: number
}

/** The answer of the token endpoint (distribution, "Token Authentication Specification"). */
export interface IssuedToken {
  /** Absent if anonymous. */
  readonly user?: string | undefined
  readonly token: string
  readonly expiresInSeconds: number
  readonly issuedAt: Date
}

/** What the tokens of this registry say and how long they count. */
export interface IssuerOptions {
  /** Issuer and audience. */
  readonly service: string
  readonly lifetimeMs: number
}

/** Issues a token; its lifetime ends with that of the credentials. `now` is in milliseconds. */
export async function issueToken(
  { service, lifetimeMs }: IssuerOptions,
  { signing }: SigningKeys,
  { subject, access, now, sign }: { subject: Subject | undefined; access: readonly AccessEntry[]; now: number; sign: typeof signJwt }
): Promise<IssuedToken> {
  const issuedAt = Math.floor(now / 1000)
  const expiresAt = Math.min(issuedAt + Math.floor(lifetimeMs / 1000), Math.floor((subject?.endsAt ?? Number.POSITIVE_INFINITY) / 1000))
  const { user, passwords } = subject ?? {}
  const claims = {
    iss: service,
    aud: service,
    ...(user === undefined ? {} : { sub: user }),
    ...(passwords === undefined ? {} : { passwords }),
    exp: expiresAt,
    nbf: issuedAt,
    iat: issuedAt,
    jti: randomUUID(),
    access
  }
  const token = await sign(claims, signing)
  return { user, token, expiresInSeconds: Math.max(1, expiresAt - issuedAt), issuedAt: new Date(issuedAt * 1000) }
}
