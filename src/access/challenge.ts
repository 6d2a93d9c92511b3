import { OciError } from '../oci/errors.ts'
import type { Presented } from './access.ts'
import { basicChallenge } from './basic.ts'

/** A registry that issues tokens: its name in them, and where clients get them unless that follows from `Host`. */
export interface TokenService {
  readonly name: string
  /** A URL. */
  readonly realm?: string | undefined
}

/** What a challenge says. */
export interface ChallengeParameters {
  presented?: Presented | undefined
  /** The scope that a token needs. */
  scope?: string
  /** Why a token was refused (RFC 6750 §3.1). */
  error?: 'invalid_token' | 'insufficient_scope'
  /** The challenge is that of `GET /v2/`. */
  base?: boolean
}

/** Makes the error of a request whose credentials are missing or refused. */
export type Unauthorized = (detail: string | undefined, challenge?: ChallengeParameters) => OciError

/** The error of a request that takes a password and no token of this registry. */
export const passwordRequired = (detail: string): OciError => new OciError('UNAUTHORIZED', { headers: basicChallenge('registry'), detail })

/** Creates the errors of a registry; `service` is present where it issues tokens. */
export function createUnauthorized(service: TokenService | undefined): Unauthorized {
  const basic = basicChallenge('registry')
  return (detail, { presented, scope, error, base } = {}) => {
    const realm = service && presented && (service.realm ?? realmUrl(presented))
    if (!service || realm === undefined) return new OciError('UNAUTHORIZED', { headers: basic, detail })
    const bearer = bearerChallenge({ realm, service: service.name, scope, error })
    // A field for each scheme (RFC 9110 §11.6.1). skopeo, crane and oras take the first. docker applies every scheme of
    // `GET /v2/`, where its Basic replaces the token, and fails without a password; containerd, curl and the like go by
    // the challenge of the request itself.
    const fields = base ? bearer : [bearer, basic['WWW-Authenticate']]
    return new OciError('UNAUTHORIZED', { headers: { 'WWW-Authenticate': fields }, detail })
  }
}

// No parameter can hold a quote: realm and service are checked, a scope has names of the distribution-spec.
function bearerChallenge(parameters: Record<string, string | undefined>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined)
  return `Bearer ${given.map(([name, value]) => `${name}="${value}"`).join(',')}`
}

// A name or an address, and a port; anything else in `Host` would come back in a header.
const hostForm = /^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?$/

/** The URL of the token endpoint on the host that a request names; undefined if that is no host. */
export function realmUrl({ host, secure }: Pick<Presented, 'host' | 'secure'>): string | undefined {
  return host !== undefined && hostForm.test(host) ? `${secure ? 'https' : 'http'}://${host}/v2/token` : undefined
}
