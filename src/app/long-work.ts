import type { Config } from '../../config/schema.ts'
import type { Storage } from '../../storage/storage.ts'
import type { BackendSwitch } from '../backend/switch.ts'
import type { Content } from '../content/content.ts'
import type { Fills } from '../content/fill/fills.ts'
import type { Digest } from '../oci/digest.ts'
import { refetch } from '../operations/fetch.ts'
import type { RegistryContext } from '../operations/operation.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { startScrubber } from './scrubber.ts'

/** What operations need of a running process; the configuration and the upstreams are those in force. */
export interface LongWorkDeps {
  config: () => Config
  content: Content
  storage: Storage
  fills: Fills
  modes: BackendSwitch
  upstreams: () => ReadonlyMap<string, Upstream>
  /** Requests that are being answered. */
  running: () => number
  /** Garbage collection of the process. */
  collect: RegistryContext['collect']
  metrics: Metrics
  log: Logger
}

/** The operations of a running process: the scrub in the background, and the context of those that commands request. */
export interface LongWork {
  context: RegistryContext
  /** What `/status` says of the scrub. */
  scrubStatus(): object
  stop(): Promise<void>
}

/** Starts the scrub in the background. */
export async function startLongWork(deps: LongWorkDeps): Promise<LongWork> {
  const { config, content, storage, fills, modes, upstreams, running, collect, metrics, log } = deps
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
    context: {
      tree,
      fetcher,
      collect,
      reportScrub: scrubbing.report,
      recordScrub: scrubbing.completed,
      why: () => ({ config: config(), content, storage, upstreams: upstreams(), writable: () => storage.checkWritable() })
    },
    scrubStatus: scrubbing.status,
    stop: scrubbing.stop
  }
}
