import type { KeyObject } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'

/** What a JSON Web Token has to be; times count with `clockSkewSeconds`. */
export interface Expected {
  /** Public keys by `kid`. */
  readonly keys: ReadonlyMap<string, KeyObject>
  readonly algorithms: readonly string[]
  readonly issuers: readonly string[]
  readonly audience: string
}

/** The claims of a verified token (RFC 7519 §4.1); times in seconds since the epoch. */
export interface Claims {
  readonly sub?: string
  readonly exp: number
  readonly [claim: string]: unknown
}

/** How far the clocks of two machines may differ. */
export const clockSkewSeconds = 60

// No issuer gives tokens for longer; a token without an end would outlive every rotation.
const maxAgeSeconds = 48 * 3600

/** Verifies a token (RFC 8725); rejects with an Error that says why it is refused. `now` is in milliseconds. */
export async function verifyJwt(token: string, expected: Expected, now: number): Promise<Claims> {
  const { keys, algorithms, issuers, audience } = expected
  try {
    const { payload } = await jwtVerify(token, header => keyOf(keys, header.kid), {
      algorithms: [...algorithms],
      issuer: [...issuers],
      audience,
      clockTolerance: clockSkewSeconds,
      currentDate: new Date(now),
      maxTokenAge: maxAgeSeconds,
      requiredClaims: ['exp', 'iat']
    })
    return payload as Claims
  } catch (cause) {
    throw new Error(cause instanceof errors.JWTExpired ? 'the token has expired' : 'the token is not valid here', { cause })
  }
}

/** Signs claims with ES256 (RFC 7518 §3.4). */
export async function signJwt(claims: Record<string, unknown>, { id, key }: { id: string; key: KeyObject }): Promise<string> {
  return await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: id }).sign(key)
}

function keyOf(keys: ReadonlyMap<string, KeyObject>, id: string | undefined): KeyObject {
  const key = id === undefined ? undefined : keys.get(id)
  if (!key) throw new Error('no key has the id of the token')
  return key
}
