import type { Config } from '../../config/schema.ts'
import { RateLimiter } from '../../storage/rate-limiter.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/** The rate limits of the process. A limit that is not set is absent, and costs nothing. */
export interface RateLimits {
  /** Of written blobs. */
  writing: RateLimiter | undefined
  /** Of blobs sent to clients. */
  egress: RateLimiter | undefined
  /** Of blobs received from upstreams. */
  ingress: RateLimiter | undefined
}

/** Creates the rate limits of the configuration. */
export function createRateLimits({ storage, limits }: Config, metrics: Metrics): RateLimits {
  const rate = (limit: string, bytesPerSecond: number | undefined): RateLimiter | undefined => {
    if (bytesPerSecond === undefined) return undefined
    // A limit that was never reached is exported as 0.
    metrics.limitWait.inc({ limit }, 0)
    return new RateLimiter(bytesPerSecond, { onWait: ms => metrics.limitWait.inc({ limit }, ms / 1000) })
  }
  return {
    writing: rate('write', storage.filesystem.writeLimit),
    egress: rate('egress', limits.egress),
    ingress: rate('upstream', limits.upstream)
  }
}
