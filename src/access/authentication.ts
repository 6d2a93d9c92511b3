import { OciError } from '../oci/errors.ts'
import type { AuthOutcome, Identity, Presented } from './access.ts'
import { parseBasic } from './basic.ts'
import type { Unauthorized } from './challenge.ts'
import type { PasswordChecker } from './password-checker.ts'
import type { BearerAccess } from './tokens/access.ts'
import { TokenError } from './tokens/token-error.ts'

/** What authentication asks. */
export interface AuthenticationDeps {
  /** Absent where no user has a password. */
  users: Pick<PasswordChecker, 'check'> | undefined
  /** Absent where there are no tokens. */
  bearer: BearerAccess | undefined
  /** The identity of a user; undefined: anonymous. */
  identify: (user: string | undefined) => Identity
  /** Whether the common name of a client certificate is a user. */
  hasRole: (name: string) => boolean
  onOutcome: (outcome: AuthOutcome) => void
  unauthorized: Unauthorized
}

/** Creates `Access.authenticate`: by the `Authorization` header, else by the client certificate, else anonymous. */
export function createAuthentication(deps: AuthenticationDeps): (presented: Presented) => Promise<Identity> {
  const { users, bearer, identify, hasRole, onOutcome, unauthorized } = deps

  async function byPassword(header: string, presented: Presented): Promise<Identity | undefined> {
    const credentials = parseBasic(header)
    if (credentials === 'empty') return undefined
    if (credentials && bearer?.isServiceAccount(credentials.user)) {
      return await byToken(bearer, credentials.password.toString('latin1'), presented)
    }
    const verdict = credentials && users ? await users.check(credentials, presented.address) : ({ outcome: 'failed' } as const)
    onOutcome(verdict.outcome)
    if (verdict.outcome === 'limited') throw tooMany(verdict.retryAfterMs)
    if (!credentials) throw unauthorized('the Authorization header is not well-formed Basic', { presented })
    if (verdict.outcome === 'failed') throw unauthorized('wrong user or password', { presented })
    return identify(credentials.user)
  }

  async function byToken(access: BearerAccess, token: string, presented: Presented): Promise<Identity> {
    try {
      const identity = access.known(token) ?? (await access.verify(token))
      onOutcome('token')
      return identity
    } catch (cause) {
      if (!(cause instanceof TokenError)) throw cause
      onOutcome('failed')
      throw unauthorized(cause.message, { presented, error: 'invalid_token' })
    }
  }

  function byHeader(header: string, presented: Presented): Promise<Identity | undefined> {
    if (bearer && /^bearer /i.test(header)) return byToken(bearer, header.slice('bearer '.length).trim(), presented)
    return byPassword(header, presented)
  }

  return async presented => {
    const { authorization, certificateName } = presented
    const identity = (users || bearer) && authorization !== undefined && (await byHeader(authorization, presented))
    if (identity) return identity
    if (certificateName !== undefined && hasRole(certificateName)) {
      onOutcome('certificate')
      return identify(certificateName)
    }
    onOutcome('anonymous')
    return identify(undefined)
  }
}

function tooMany(retryAfterMs: number): OciError {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
  return new OciError('TOOMANYREQUESTS', { headers: { 'Retry-After': String(seconds) }, detail: 'too many passwords were tried' })
}
