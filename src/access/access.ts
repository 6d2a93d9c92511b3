import type { GrantSetting } from '../../config/sections/kinds.ts'
import { OciError } from '../oci/errors.ts'
import { createAuthentication } from './authentication.ts'
import { createUnauthorized, passwordRequired } from './challenge.ts'
import { compileGrants, type Grants, isGranted, type Permission } from './grants.ts'
import type { PasswordChecker } from './password-checker.ts'
import { createBearerAccess, type TokenSettings } from './tokens/access.ts'
import type { IssuedToken } from './tokens/issuer.ts'
import { neededScope, parseScopes, type TokenScope } from './tokens/scope.ts'

/** The user of a request and what is granted to it; without `user` the request is anonymous. */
export interface Identity {
  readonly user?: string
  readonly grants: Grants
  /** Present where a token of this registry was presented: no more than it was issued for counts. */
  readonly scope?: TokenScope | undefined
  /** Present where a token of a service account was presented: when it ends, in milliseconds since the epoch. */
  readonly endsAt?: number | undefined
  /** Present where this registry issues tokens. */
  readonly presented?: Presented | undefined
}

/** How a request was authenticated, as the metric counts it. */
export type AuthOutcome = 'ok' | 'cached' | 'failed' | 'limited' | 'anonymous' | 'certificate' | 'token'

/** What a request presents to be authenticated. */
export interface Presented {
  /** The `Authorization` header, unparsed. */
  authorization?: string | undefined
  /** The common name of a verified client certificate. */
  certificateName?: string | undefined
  /** The remote address, which login attempts are counted for. */
  address: string
  /** The `Host` header, and whether the connection uses TLS: where the sender gets a token. */
  host?: string | undefined
  secure?: boolean | undefined
}

/** Authentication and authorization of requests. */
export interface Access {
  /** Throws UNAUTHORIZED for bad credentials and TOOMANYREQUESTS for too many login attempts. */
  authenticate(presented: Presented): Promise<Identity>
  /**
   * Throws UNAUTHORIZED if the request is anonymous or its token was not issued for this, DENIED if the user lacks
   * the permission for the repository `name`, of this registry or of the upstream `host`; without a name, for any
   * repository there.
   */
  authorize(identity: Identity, permission: Permission, name?: string, host?: string): void
  /**
   * Authorizes `GET /v2/` (end-1), by which clients find out whether to send credentials at all: any user passes. An
   * anonymous request is UNAUTHORIZED if it may not pull, and where there are users with a password also if it may:
   * otherwise skopeo, podman, buildah and docker would never send one, and a login would succeed with any.
   */
  authorizeBase(identity: Identity): void
  /** Throws UNAUTHORIZED or DENIED unless the identity may read metrics and status; tokens of this registry may not. */
  authorizeMetrics(identity: Identity): void
  /**
   * Exchanges credentials for a token that counts for no more than `scopes`, each of which is a text of scopes that
   * are separated by spaces; undefined where this registry issues none. Throws UNSUPPORTED (400) for another service or
   * too many scopes; rejects as `authenticate` does, and with UNAUTHORIZED if nothing is granted to the sender.
   */
  issueToken(presented: Presented, wanted: { service?: string | undefined; scopes: readonly string[] }): Promise<IssuedToken> | undefined
}

/** Creates the access rules of a configuration. Without users and tokens an `Authorization` header is ignored. */
export function createAccess(options: {
  users?: Pick<PasswordChecker, 'check' | 'fingerprintOf'> | undefined
  roles: Readonly<Record<string, readonly GrantSetting[]>>
  anonymous: readonly GrantSetting[]
  onOutcome: (outcome: AuthOutcome) => void
  tokens?: TokenSettings | undefined
}): Access {
  const { users, anonymous, onOutcome, tokens } = options
  // A user keeps the permissions of anonymous requests.
  const roles = new Map(Object.entries(options.roles).map(([user, own]) => [user, compileGrants([...anonymous, ...own])]))
  const anonymousIdentity: Identity = { grants: compileGrants(anonymous) }
  const identify = (user: string | undefined): Identity =>
    user === undefined ? anonymousIdentity : { user, grants: roles.get(user) ?? anonymousIdentity.grants }
  const bearer = tokens && createBearerAccess({ tokens, users, anonymous, identify })
  const service = tokens?.service
  const unauthorized = createUnauthorized(service)
  const hasRole = (name: string) => roles.has(name)
  const authenticate = createAuthentication({ users, bearer, identify, hasRole, onOutcome, unauthorized })

  return {
    authenticate: service ? async presented => ({ ...(await authenticate(presented)), presented }) : authenticate,
    authorize({ user, grants, scope, presented }, permission, name, host) {
      const needed = () => ({ presented, scope: neededScope(permission, name) })
      if (!isGranted(grants, permission, name, host)) {
        if (user === undefined) throw unauthorized(undefined, needed())
        throw new OciError('DENIED', { detail: { action: permission, ...(name === undefined ? {} : { name }) } })
      }
      if (scope === undefined || (name === undefined ? scope.catalog : scope.allows(permission, name))) return
      // A token for less does not take away what needs none.
      if (isGranted(anonymousIdentity.grants, permission, name, host)) return
      throw unauthorized('the token was not issued for this', { ...needed(), error: 'insufficient_scope' })
    },
    authorizeBase({ user, grants, scope, presented }) {
      // A token without a user was given to a client that has no credentials, and could not get a better one.
      if (user !== undefined || (scope && isGranted(grants, 'pull'))) return
      if (users || bearer || !isGranted(grants, 'pull')) throw unauthorized(undefined, { presented, base: true })
    },
    authorizeMetrics({ user, grants, scope }) {
      if (grants.metrics && !scope) return
      if (user === undefined || scope) throw passwordRequired('a user with the permission metrics is required')
      throw new OciError('DENIED', { detail: { action: 'metrics' } })
    },
    issueToken: ({ authorization, address }, { service: wanted, scopes }) => {
      if (!bearer || !service) return undefined
      const access = parseScopes(scopes)
      if (!access) throw badRequest('there are too many scopes')
      if (wanted !== undefined && wanted !== service.name) throw badRequest('tokens are issued for another service')
      // A certificate is presented with each request anyway. A token for it would outlive its revocation.
      return bearer.issue(authorization, access, () => authenticate({ authorization, address }))
    }
  }
}

function badRequest(reason: string): OciError {
  return new OciError('UNSUPPORTED', { status: 400, detail: { reason } })
}
