import { OciError } from '../oci/errors.ts'
import { basicChallenge, parseBasic } from './basic.ts'
import type { PasswordChecker } from './password-checker.ts'

/** What a client can be allowed to do; `pull` includes the catalog. */
export type Permission = 'pull' | 'push' | 'delete'

/** Who asks, and what that one may do; without `user` it is anybody. */
export interface Identity {
  readonly user?: string
  readonly permissions: ReadonlySet<Permission>
}

/** How a request was told apart, for a metric. */
export type AuthOutcome = 'ok' | 'cached' | 'failed' | 'limited' | 'anonymous' | 'certificate'

/** What a request shows of its sender. */
export interface Presented {
  /** The `Authorization` header as it came. */
  authorization?: string | undefined
  /** The common name of a client certificate that was verified. */
  certificateName?: string | undefined
  /** The remote address that tries are counted for. */
  address: string
}

/** The rights of the registry. */
export interface Access {
  /** Who sends the request; throws UNAUTHORIZED for a wrong header and TOOMANYREQUESTS for too many tries. */
  authenticate(presented: Presented): Promise<Identity>
  /** Throws UNAUTHORIZED when credentials could help, DENIED when the user is known and lacks the right. */
  authorize(identity: Identity, action: Permission): void
  /** The same for `GET /v2/` (end-1), where a client finds out whether it must send credentials: any user may pass. */
  authorizeBase(identity: Identity): void
}

/** Rights by user. Without `users` there is nothing to compare a password with, and an `Authorization` header is not looked at. */
export function createAccess(options: {
  users?: Pick<PasswordChecker, 'check'> | undefined
  roles: Readonly<Record<string, readonly Permission[]>>
  anonymous: readonly Permission[]
  onOutcome: (outcome: AuthOutcome) => void
  realm?: string
}): Access {
  const { users, anonymous, onOutcome } = options
  const roles = new Map(Object.entries(options.roles))
  const challenge = basicChallenge(options.realm ?? 'registry')
  const anybody: Identity = { permissions: new Set(anonymous) }

  function unauthorized(detail?: string): OciError {
    return new OciError('UNAUTHORIZED', { headers: challenge, detail })
  }

  // Credentials never take away what everybody may do without them.
  function identify(user: string): Identity {
    return { user, permissions: new Set([...anonymous, ...(roles.get(user) ?? [])]) }
  }

  async function byPassword(check: PasswordChecker['check'], header: string, address: string): Promise<Identity> {
    const given = parseBasic(header)
    const verdict = given ? await check(given, address) : ({ outcome: 'failed' } as const)
    onOutcome(verdict.outcome)
    if (verdict.outcome === 'limited') throw tooMany(verdict.retryAfterMs)
    if (!given) throw unauthorized('the Authorization header is not well-formed Basic')
    if (verdict.outcome === 'failed') throw unauthorized('wrong user or password')
    return identify(given.user)
  }

  return {
    async authenticate({ authorization, certificateName, address }) {
      if (users && authorization !== undefined) return await byPassword(users.check, authorization, address)
      if (certificateName !== undefined && roles.has(certificateName)) {
        onOutcome('certificate')
        return identify(certificateName)
      }
      onOutcome('anonymous')
      return anybody
    },
    authorize({ user, permissions: actions }, action) {
      if (actions.has(action)) return
      if (user === undefined) throw unauthorized()
      throw new OciError('DENIED', { detail: { action } })
    },
    authorizeBase({ user, permissions: actions }) {
      if (user === undefined && !actions.has('pull')) throw unauthorized()
    }
  }
}

function tooMany(milliseconds: number): OciError {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000))
  return new OciError('TOOMANYREQUESTS', { headers: { 'Retry-After': String(seconds) }, detail: 'too many passwords were tried' })
}
