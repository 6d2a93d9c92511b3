import type { Config } from '../../config/schema.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** What the parts of a running process share. */
export interface AppContext {
  /** The configuration in force, which a reload replaces. */
  config(): Config
  /** Aborted as soon as the process begins to stop. */
  readonly stopping: AbortSignal
  readonly metrics: Metrics
  readonly log: Logger
}

/** How often files that may change are read, in ms. A change is taken when two readings agree. */
export const watchIntervalMs = 5_000

/** Takes a changed configuration, which nothing can refuse any more. */
export type CommitReload = () => void
