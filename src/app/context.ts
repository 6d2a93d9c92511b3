import type { Config } from '../../config/schema.ts'
import type { Audit } from '../telemetry/audit.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** What the parts of a running process share. */
export interface AppContext {
  /** The configuration in force, which a reload replaces. */
  config(): Config
  /** Aborted when the process begins to stop. */
  readonly stopping: AbortSignal
  readonly metrics: Metrics
  readonly log: Logger
  readonly audit: Audit
}

/** The interval at which watched files are read. A change is applied when two readings agree. */
export const watchIntervalMs = 5_000

/** Puts a prepared change in force. Does not fail. */
export type CommitReload = () => void
