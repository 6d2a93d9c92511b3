import type { GrantSetting } from '../../../config/sections/kinds.ts'
import type { Identity } from '../access.ts'
import { parseBasic } from '../basic.ts'
import { passwordRequired, type TokenService } from '../challenge.ts'
import { compileGrants, type Grants, isGranted, type Permission, permissions } from '../grants.ts'
import type { PasswordChecker } from '../password-checker.ts'
import type { BearerVerifier } from './bearer.ts'
import type { IssuedToken } from './issuer.ts'
import type { AccessEntry } from './scope.ts'
import { compileSubjectPattern } from './subject-pattern.ts'
import { TokenError } from './token-error.ts'
import { maxTokenLength, VerifiedTokens } from './verified-tokens.ts'

/** What tokens are for in a configuration. */
export interface TokenSettings {
  readonly verifier: BearerVerifier
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Present where this registry issues tokens. */
  readonly service?: TokenService | undefined
  /** Present where service accounts are known: the user of Basic whose password is a token, and roles by subject. */
  readonly serviceAccounts?: { readonly user: string; readonly roles: Readonly<Record<string, readonly GrantSetting[]>> } | undefined
  /** Gets what forgets all verified tokens, to be called when keys have changed. */
  readonly onForget: (forget: () => void) => void
}

/** Authentication by tokens. */
export interface BearerAccess {
  /** The bearer of a token that was verified before and still counts. */
  known(token: string): Identity | undefined
  /** Verifies a token; rejects with a TokenError if it is refused. */
  verify(token: string): Promise<Identity>
  /** Whether the password of this user of Basic is a token. */
  isServiceAccount(user: string): boolean
  /** Issues a token for the credentials that `authenticate` checks; rejects as it does, and with UNAUTHORIZED. */
  issue(authorization: string | undefined, access: readonly AccessEntry[], authenticate: () => Promise<Identity>): Promise<IssuedToken>
}

/** The bearer of a verified token, and the fingerprint of the passwords that have to be the user's still. */
interface KnownBearer {
  readonly identity: Identity
  readonly passwords: string | undefined
}

/** Creates the authentication by tokens. */
export function createBearerAccess(options: {
  tokens: TokenSettings
  users: Pick<PasswordChecker, 'fingerprintOf'> | undefined
  anonymous: readonly GrantSetting[]
  identify: (user: string | undefined) => Identity
}): BearerAccess {
  const { tokens, users, anonymous, identify } = options
  const { verifier, now, serviceAccounts } = tokens
  const verified = new VerifiedTokens<KnownBearer>({ verify, now })
  tokens.onForget(() => verified.forget())
  const subjects = Object.entries(serviceAccounts?.roles ?? {}).map(([text, grants]) => ({ matches: compileSubjectPattern(text), grants }))

  // Of all roles whose pattern matches.
  function grantsOf(subject: string): Grants {
    return compileGrants([...anonymous, ...subjects.flatMap(each => (each.matches(subject) ? each.grants : []))])
  }

  async function verify(token: string): Promise<{ value: KnownBearer; endsAt: number }> {
    const { user, passwords, scope, endsAt } = await verifier.verify(token, now())
    const known = (identity: Identity) => ({ value: { identity, passwords }, endsAt: endsAt + verifier.skewMs })
    if (user === undefined || passwords !== undefined) return known({ ...identify(user), scope })
    if (!serviceAccounts) throw new TokenError('the token is not valid here')
    return known({ user, grants: grantsOf(user), ...(scope ? { scope } : { endsAt }) })
  }

  // A removed user, or one whose passwords are others now, loses with the next request.
  function current(user: string | undefined, passwords: string | undefined): boolean {
    return passwords === undefined || (user !== undefined && users?.fingerprintOf(user) === passwords)
  }

  return {
    known(token) {
      const found = verified.known(token)
      return found && current(found.identity.user, found.passwords) ? found.identity : undefined
    },
    async verify(token) {
      if (token.length > maxTokenLength) throw new TokenError(`the token has more than ${maxTokenLength} characters`)
      const { identity, passwords } = await verified.verify(token)
      if (!current(identity.user, passwords)) throw new TokenError("the token's user is not known any more, or has another password")
      return identity
    },
    isServiceAccount: user => serviceAccounts?.user === user,
    async issue(authorization, access, authenticate) {
      const basic = authorization === undefined ? undefined : parseBasic(authorization)
      // Before the password is compared: if the file changes meanwhile, the token counts for the former passwords.
      const passwords = basic && basic !== 'empty' ? users?.fingerprintOf(basic.user) : undefined
      const { user, grants, scope, endsAt } = await authenticate()
      // A token of this registry could be renewed for ever, and for more than it was issued for.
      if (scope) throw passwordRequired('a token is issued for credentials, not for another token')
      if (user === undefined && !permissions.some(each => isGranted(grants, each))) throw passwordRequired('credentials are required')
      // A token without them would be one of a service account.
      if (user !== undefined && endsAt === undefined && passwords === undefined) throw passwordRequired('the user is not known any more')
      const subject = user === undefined ? undefined : { user, ...(endsAt === undefined ? { passwords } : { endsAt }) }
      return await verifier.issue(subject, granted(access, grants), now())
    }
  }
}

// What is granted nowhere is left out. For which repositories the rest counts is decided when the token is used: the
// scope does not tell of which upstream a repository is.
function granted(access: readonly AccessEntry[], grants: Grants): AccessEntry[] {
  const allowed = (action: string) => (action === '*' ? grants.pull : grants[action as Permission]).length > 0
  return access.map(entry => ({ ...entry, actions: entry.actions.filter(allowed) })).filter(entry => entry.actions.length > 0)
}
