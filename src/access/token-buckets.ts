import { LRUCache } from 'lru-cache'

/** What a token bucket holds at most, and the time in which one token comes back. */
export interface BucketLimits {
  burst: number
  refillMs: number
}

/** Token buckets by key. A full bucket takes no memory. */
export interface TokenBuckets {
  /** Takes tokens (1 by default, at most the burst), or returns the milliseconds until there are enough. */
  take(key: string, tokens?: number): number | undefined
  /** Gives back what was taken. */
  refund(key: string, tokens?: number): void
}

/** Creates buckets, at most `maxKeys`: the one used least recently is forgotten first. `now` is in milliseconds. */
export function createTokenBuckets({ burst, refillMs }: BucketLimits, maxKeys: number, now: () => number): TokenBuckets {
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: maxKeys })

  // A clock that steps back adds nothing and takes nothing.
  function tokensOf(key: string, at: number): number {
    const bucket = buckets.get(key)
    return bucket ? Math.min(burst, bucket.tokens + Math.max(0, at - bucket.at) / refillMs) : burst
  }

  function set(key: string, tokens: number, at: number): void {
    if (tokens >= burst) buckets.delete(key)
    else buckets.set(key, { tokens, at })
  }

  return {
    take(key, tokens = 1) {
      const [at, wanted] = [now(), Math.min(tokens, burst)]
      const left = tokensOf(key, at)
      set(key, left < wanted ? left : left - wanted, at)
      return left < wanted ? (wanted - left) * refillMs : undefined
    },
    refund(key, tokens = 1) {
      const at = now()
      set(key, tokensOf(key, at) + Math.min(tokens, burst), at)
    }
  }
}
