import { LRUCache } from 'lru-cache'
import type { UpstreamResource } from '../options.ts'

/** What a rate limit of an endpoint applies to: one kind of content of one repository, by one right. */
export interface LimitedPart {
  resource: UpstreamResource
  /** The token scope, e.g. `repository:<name>:pull`. */
  scope: string
}

interface Limit {
  until: number
  probing: boolean
}

// Further ones push out the oldest, whose next request is refused by the upstream itself.
const maxLimits = 1_000

/**
 * The circuit breakers of one endpoint, one for each part that it has limited: a limit on one repository says nothing
 * about another one. Times are ms since the epoch.
 */
export class LimitedParts {
  readonly #limits = new LRUCache<string, Limit>({ max: maxLimits })

  /** Milliseconds for which the part is refused; undefined if a request is admitted, of which `end` has to be told. */
  refusal(part: LimitedPart, now: number): number | undefined {
    // Almost always there is none.
    if (this.#limits.size === 0) return undefined
    const limit = this.#limits.get(keyOf(part))
    if (!limit) return undefined
    const left = limit.until - now
    if (left > 0 || limit.probing) return Math.max(left, 1_000)
    // When the time is over one request goes first as a probe.
    limit.probing = true
    return undefined
  }

  /** The endpoint refuses the part until then; returns the later end if a limit was known. */
  open(part: LimitedPart, until: number): number {
    const key = keyOf(part)
    const end = Math.max(this.#limits.get(key)?.until ?? 0, until)
    this.#limits.set(key, { until: end, probing: false })
    return end
  }

  /** A request for the part has ended: `lifted` by a response, or given up. */
  end(part: LimitedPart, result: 'lifted' | 'open', now: number): void {
    if (this.#limits.size === 0) return
    const limit = this.#limits.get(keyOf(part))
    if (!limit) return
    limit.probing = false
    // A response to a request from before the limit does not lift it.
    if (result === 'lifted' && limit.until <= now) this.#limits.delete(keyOf(part))
  }

  /** The end of the last limit that is in force. */
  openUntil(now: number): number | undefined {
    const ends = [...this.#limits.values()].map(each => each.until).filter(each => each > now)
    return ends.length === 0 ? undefined : Math.max(...ends)
  }
}

function keyOf({ resource, scope }: LimitedPart): string {
  return `${resource} ${scope}`
}
