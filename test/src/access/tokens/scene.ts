import { hashSync } from '@node-rs/bcrypt'
import type { GrantSetting } from '../../../../config/sections/kinds.ts'
import { type Access, type AuthOutcome, createAccess } from '../../../../src/access/access.ts'
import { parseHtpasswd } from '../../../../src/access/htpasswd.ts'
import { createPasswordChecker, type PasswordChecker } from '../../../../src/access/password-checker.ts'
import { BearerVerifier, type Jwt } from '../../../../src/access/tokens/bearer.ts'
import * as jwt from '../../../../src/access/tokens/jwt.ts'
import { parseIssuerKeys, parseSigningKeys } from '../../../../src/access/tokens/keys.ts'
import { type TokenKey, tokenKey } from '../../../support/tokens.ts'

/** Access rights with tokens, on a clock that the test moves. */
export interface Scene {
  access: Access
  users: PasswordChecker
  key: TokenKey
  /** The key of the issuer of service account tokens. */
  issuerKey: TokenKey
  outcomes: AuthOutcome[]
  clock: { now: number }
  /** Signatures that were verified. */
  verified: () => number
  forget: () => void
}

export const basic = (user: string, password = `${user}-secret`): string => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
export const entriesOf = (...users: string[]) => parseHtpasswd(users.map(user => `${user}:${hashSync(`${user}-secret`, 4)}`).join('\n'))

/** Sets the scene with the users `ro` and `rw`. */
export function setUp(options: { anonymous?: GrantSetting[]; roles?: Record<string, GrantSetting[]>; issuerKey?: TokenKey } = {}): Scene {
  const key = tokenKey()
  const issuerKey = options.issuerKey ?? tokenKey('RS256')
  const clock = { now: Date.now() }
  const users = createPasswordChecker({ entries: entriesOf('ro', 'rw'), now: () => clock.now })
  const outcomes: AuthOutcome[] = []
  let verified = 0
  const counting: Jwt = {
    ...jwt,
    verifyJwt: (...given) => {
      verified++
      return jwt.verifyJwt(...given)
    }
  }
  const signing = parseSigningKeys([Buffer.from(key.pem)])
  const issuers = parseIssuerKeys(Buffer.from(issuerKey.publicPem))
  const own = { service: 'registry', lifetimeMs: 900_000, keys: () => signing }
  const serviceAccounts = { issuers: ['https://issuer.test'], audience: 'registry', keys: () => issuers, onUnknownKey: () => {} }
  let forget = () => {}
  const access = createAccess({
    users,
    roles: { ro: ['pull'], rw: ['pull', 'push', 'delete'] },
    anonymous: options.anonymous ?? [],
    onOutcome: outcome => outcomes.push(outcome),
    tokens: {
      verifier: new BearerVerifier(counting, own, serviceAccounts),
      now: () => clock.now,
      service: { name: 'registry' },
      serviceAccounts: { user: 'serviceaccount', roles: options.roles ?? {} },
      onForget: all => {
        forget = all
      }
    }
  })
  return { access, users, key, issuerKey, outcomes, clock, verified: () => verified, forget: () => forget() }
}
