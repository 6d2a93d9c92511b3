import type { Finding } from '../read/fault.ts'
import { formatValue } from '../read/fault.ts'
import type { Config } from '../schema.ts'
import { isLoopback } from '../values/loopback.ts'
import { formatAddress } from '../values/units.ts'
import { grantsMetrics } from './metrics.ts'

/** The rules between the settings of users, tokens and client certificates. */
export const authChecks = ({ auth, server }: Config): Finding[] => [
  ...(auth.tokens && !auth.users && !auth.serviceAccounts
    ? [{ path: ['auth', 'tokens'], expected: 'auth.users or auth.serviceAccounts beside it: nothing else can be exchanged for a token' }]
    : []),
  ...(auth.serviceAccounts ? serviceAccountChecks(auth.serviceAccounts, auth.users?.roles ?? {}) : []),
  ...(['tls', 'adminTLS'] as const).flatMap(section => revocationChecks(section, server[section])),
  ...adminChecks(server, auth)
]

const revocationChecks = (section: 'tls' | 'adminTLS', files: Config['server']['tls']): Finding[] =>
  files?.clientCRL === undefined || files.clientCA !== undefined
    ? []
    : [
        {
          path: ['server', section, 'clientCRL'],
          expected: `server.${section}.clientCA beside it: without one no client certificate is verified`
        }
      ]

// Without TLS it was always accepted, so that is a warning.
const adminChecks = ({ admin, adminTLS }: Config['server'], auth: Config['auth']): Finding[] =>
  !adminTLS || isLoopback(admin.host) || grantsMetrics(auth)
    ? []
    : [
        {
          path: ['server', 'admin'],
          expected:
            'a loopback address, or a user with the permission metrics in auth (open to all must be written down: auth: { anonymous: [metrics] })',
          value: formatValue(formatAddress(admin))
        }
      ]

const serviceAccountChecks = (
  { keys, keysURL, ca, token, user }: NonNullable<Config['auth']['serviceAccounts']>,
  users: Readonly<Record<string, unknown>>
): Finding[] => {
  const path = ['auth', 'serviceAccounts']
  const findings: Finding[] = []
  if ((keys === undefined) === (keysURL === undefined)) findings.push({ path, expected: 'either keys or keysURL' })
  for (const [setting, value] of Object.entries({ ca, token })) {
    if (value !== undefined && keysURL === undefined) findings.push({ path: [...path, setting], expected: 'keysURL beside it' })
  }
  if (Object.hasOwn(users, user))
    findings.push({ path: [...path, 'user'], expected: 'a name that no user in auth.users.roles has', value: formatValue(user) })
  return findings
}
