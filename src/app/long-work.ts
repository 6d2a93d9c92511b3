import type { Config } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import type { BackendSwitch } from '../backend/switch.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Digest } from '../oci/digest.ts'
import { createTasks } from '../operations/operations.ts'
import { refetch } from '../operations/refetch.ts'
import type { Operations } from '../ports/operations.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { startScrubber } from './scrubber.ts'

/** What long work needs of a running process; the configuration is the one in force. */
export interface LongWorkDeps {
  config: () => Config
  content: Content
  storage: Storage
  fills: Fills
  modes: BackendSwitch
  /** Requests that are being answered. */
  running: () => number
  metrics: Metrics
  log: Logger
}

/** The long work of a running process: the check in the background, and what commands ask for. */
export interface LongWork {
  tasks: Omit<Operations, 'gc'>
  /** What `/status` says of the check. */
  scrub(): object
  stop(): Promise<void>
}

/** Starts the check in the background. */
export async function startLongWork({ config, content, storage, fills, modes, running, metrics, log }: LongWorkDeps): Promise<LongWork> {
  const tree = { content, storage, uploadIdleMs: config().limits.uploadIdle, now: Date.now }
  const fetcher = {
    backendFor: (host: string | undefined) => modes.backendFor(host),
    filled: async (digest: Digest) => fills.find(digest)?.done
  }
  const scrubbing = await startScrubber({
    tree,
    every: () => config().scrub.every,
    busy: () => running() > 0,
    refetch: (damaged, signal) => refetch(damaged, { ...fetcher, hosts: Object.keys(config().registry.upstreams) }, signal),
    metrics,
    log
  })
  return {
    tasks: createTasks({ tree, fetcher, told: scrubbing.report, scrubbed: scrubbing.completed }),
    scrub: scrubbing.status,
    stop: scrubbing.stop
  }
}
