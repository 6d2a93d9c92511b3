import type { Metrics } from '../../telemetry/metrics.ts'

const ofAgent: ReadonlySet<string> = new Set<keyof Metrics>([
  'requests',
  'duration',
  'received',
  'sent',
  'truncated',
  'requestsRunning',
  'connectionsDropped',
  'connectionsClosed',
  'upstreamRequests',
  'upstreamBytes',
  'upstreamResumes',
  'upstreamHedges',
  'upstreamProbes',
  'upstreamTokens',
  'upstreamBreaker',
  'replicaHealthy',
  'reloads',
  'reloadFaults',
  'certificateExpiry',
  'build'
])

/** Whether an agent has a metric of the table: the others are of parts that it does not have. */
export const isAgentMetric = (key: string): boolean => ofAgent.has(key)
