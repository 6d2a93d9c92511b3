import type { GrantSetting } from '../../config/sections/kinds.ts'
import { OciError } from '../oci/errors.ts'
import { basicChallenge, parseBasic } from './basic.ts'
import { compileGrants, type Grants, isGranted, type Permission } from './grants.ts'
import type { PasswordChecker } from './password-checker.ts'

/** The user of a request and what is granted to it; without `user` the request is anonymous. */
export interface Identity {
  readonly user?: string
  readonly grants: Grants
}

/** How a request was authenticated, as the metric counts it. */
export type AuthOutcome = 'ok' | 'cached' | 'failed' | 'limited' | 'anonymous' | 'certificate'

/** What a request presents to be authenticated. */
export interface Presented {
  /** The `Authorization` header, unparsed. */
  authorization?: string | undefined
  /** The common name of a verified client certificate. */
  certificateName?: string | undefined
  /** The remote address, which login attempts are counted for. */
  address: string
}

/** Authentication and authorization of requests. */
export interface Access {
  /** Throws UNAUTHORIZED for bad credentials and TOOMANYREQUESTS for too many login attempts. */
  authenticate(presented: Presented): Promise<Identity>
  /**
   * Throws UNAUTHORIZED if the request is anonymous, DENIED if the user lacks the permission for the repository `name`,
   * of this registry or of the upstream `host`; without a name, for any repository there.
   */
  authorize(identity: Identity, permission: Permission, name?: string, host?: string): void
  /**
   * Authorizes `GET /v2/` (end-1), by which clients find out whether to send credentials at all: any user passes. An
   * anonymous request is UNAUTHORIZED if it may not pull, and where there are users with a password also if it may:
   * otherwise skopeo, podman, buildah and docker would never send one, and a login would succeed with any.
   */
  authorizeBase(identity: Identity): void
}

/** Creates the access rules of a configuration. Without `users` an `Authorization` header is ignored. */
export function createAccess(options: {
  users?: Pick<PasswordChecker, 'check'> | undefined
  roles: Readonly<Record<string, readonly GrantSetting[]>>
  anonymous: readonly GrantSetting[]
  onOutcome: (outcome: AuthOutcome) => void
  realm?: string
}): Access {
  const { users, anonymous, onOutcome } = options
  // A user keeps the permissions of anonymous requests.
  const roles = new Map(Object.entries(options.roles).map(([user, own]) => [user, compileGrants([...anonymous, ...own])]))
  const challenge = basicChallenge(options.realm ?? 'registry')
  const anonymousIdentity: Identity = { grants: compileGrants(anonymous) }

  function unauthorized(detail?: string): OciError {
    return new OciError('UNAUTHORIZED', { headers: challenge, detail })
  }

  function identify(user: string): Identity {
    return { user, grants: roles.get(user) ?? anonymousIdentity.grants }
  }

  async function byPassword(check: PasswordChecker['check'], header: string, address: string): Promise<Identity | undefined> {
    const credentials = parseBasic(header)
    if (credentials === 'empty') return undefined
    const verdict = credentials ? await check(credentials, address) : ({ outcome: 'failed' } as const)
    onOutcome(verdict.outcome)
    if (verdict.outcome === 'limited') throw tooMany(verdict.retryAfterMs)
    if (!credentials) throw unauthorized('the Authorization header is not well-formed Basic')
    if (verdict.outcome === 'failed') throw unauthorized('wrong user or password')
    return identify(credentials.user)
  }

  return {
    async authenticate({ authorization, certificateName, address }) {
      const identity = users && authorization !== undefined && (await byPassword(users.check, authorization, address))
      if (identity) return identity
      if (certificateName !== undefined && roles.has(certificateName)) {
        onOutcome('certificate')
        return identify(certificateName)
      }
      onOutcome('anonymous')
      return anonymousIdentity
    },
    authorize({ user, grants }, permission, name, host) {
      if (isGranted(grants, permission, name, host)) return
      if (user === undefined) throw unauthorized()
      throw new OciError('DENIED', { detail: { action: permission, ...(name === undefined ? {} : { name }) } })
    },
    authorizeBase({ user, grants }) {
      if (user === undefined && (users || !isGranted(grants, 'pull'))) throw unauthorized()
    }
  }
}

function tooMany(retryAfterMs: number): OciError {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
  return new OciError('TOOMANYREQUESTS', { headers: { 'Retry-After': String(seconds) }, detail: 'too many passwords were tried' })
}
