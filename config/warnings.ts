import { grantsMetrics } from './rules/metrics.ts'
import type { Config } from './schema.ts'
import { isLoopback } from './values/loopback.ts'
import { formatAddress } from './values/units.ts'

/** What is accepted, since it always was, and should be changed: a sentence each, which says how. */
export const configWarnings = ({ server: { admin, adminTLS }, auth }: Config): string[] => {
  if (isLoopback(admin.host)) return []
  const where = `server.admin listens on ${formatAddress(admin)}`
  if (!grantsMetrics(auth)) {
    return [`${where} and shows metrics and status to every machine that reaches it: set server.adminTLS and grant a user metrics`]
  }
  if (adminTLS || auth.anonymous.includes('metrics')) return []
  return [`${where} without TLS, so that passwords for metrics cross the network in the clear: set server.adminTLS`]
}
