import type { AgentConfig } from '../../../config/agent/load.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'

/** What the parts of a running agent share. */
export interface AgentContext {
  /** The configuration in force, which a reload replaces. */
  config(): AgentConfig
  readonly metrics: Metrics
  readonly log: Logger
}
