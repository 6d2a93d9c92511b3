import type { Finding } from '../read/fault.ts'
import { formatValue } from '../read/fault.ts'
import type { Config } from '../schema.ts'

/** The rules between the settings of users, tokens and client certificates. */
export const authChecks = ({ auth, server }: Config): Finding[] => [
  ...(auth.tokens && !auth.users && !auth.serviceAccounts
    ? [{ path: ['auth', 'tokens'], expected: 'auth.users or auth.serviceAccounts beside it: nothing else can be exchanged for a token' }]
    : []),
  ...(auth.serviceAccounts ? serviceAccountChecks(auth.serviceAccounts, auth.users?.roles ?? {}) : []),
  ...(server.tls?.clientCRL !== undefined && server.tls.clientCA === undefined
    ? [{ path: ['server', 'tls', 'clientCRL'], expected: 'server.tls.clientCA beside it: without one no client certificate is verified' }]
    : [])
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
