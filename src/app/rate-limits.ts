import type { Config } from '../../config/schema.ts'
import { RateLimiter } from '../../storage/rate-limiter.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** The limits of bytes per second; one that is not set is absent, so that it costs nothing. */
export interface RateLimits {
  /** Of blobs that are written. */
  writing: RateLimiter | undefined
  /** Of blobs that are sent. */
  egress: RateLimiter | undefined
  /** Of blobs that come from upstreams. */
  ingress: RateLimiter | undefined
}

/** One rate for each limit of the configuration, for the whole process. */
export function createRateLimits({ storage, limits }: Config, metrics: Metrics): RateLimits {
  const rate = (limit: string, bytesPerSecond: number | undefined): RateLimiter | undefined => {
    if (bytesPerSecond === undefined) return undefined
    // A limit that never had to wait shows as 0, and not as nothing.
    metrics.limitWait.inc({ limit }, 0)
    return new RateLimiter(bytesPerSecond, { onWait: ms => metrics.limitWait.inc({ limit }, ms / 1000) })
  }
  return {
    writing: rate('write', storage.filesystem.writeLimit),
    egress: rate('egress', limits.egress),
    ingress: rate('upstream', limits.upstream)
  }
}
