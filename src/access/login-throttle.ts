import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'

/** How many passwords one remote address may try. */
export interface LoginThrottleLimits {
  /** Tries that are free at once. */
  burst: number
  /** Milliseconds until one more try is free. */
  refillMs: number
  /** Addresses that are remembered. */
  maxAddresses: number
}

/** A token bucket per remote address. */
export interface LoginThrottle {
  /** Takes one try; otherwise the milliseconds until the next one is free. */
  take(address: string): number | undefined
  /** Returns a try that turned out to be an honest login. */
  refund(address: string): void
}

/** Buckets that fill up with the time that `now` tells, in milliseconds. */
export function createLoginThrottle(limits: LoginThrottleLimits, now: () => number): LoginThrottle {
  const buckets = new LRUCache<string, { tries: number; at: number }>({ max: limits.maxAddresses })

  function fill(key: string): { tries: number; at: number } {
    const time = now()
    const bucket = buckets.get(key) ?? { tries: limits.burst, at: time }
    // A clock that steps back gives nothing and takes nothing.
    const gained = Math.max(0, time - bucket.at) / limits.refillMs
    const filled = { tries: Math.min(limits.burst, bucket.tries + gained), at: time }
    buckets.set(key, filled)
    return filled
  }

  return {
    take(address) {
      const bucket = fill(addressKey(address))
      if (bucket.tries < 1) return (1 - bucket.tries) * limits.refillMs
      bucket.tries--
      return undefined
    },
    refund(address) {
      const bucket = fill(addressKey(address))
      bucket.tries = Math.min(limits.burst, bucket.tries + 1)
    }
  }
}

/** What counts as one address: an IPv4 address, or the /64 network of an IPv6 address, all of which one host can use. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const groups = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  // A dotted quad at the end stands for two groups; it never reaches into the first four.
  const written = groups.length + right.length + (address.includes('.') ? 1 : 0)
  const all = tail === undefined ? groups : [...groups, ...Array<string>(Math.max(0, 8 - written)).fill('0'), ...right]
  const network = all.slice(0, 4).map(group => group.replace(/^0+(?=.)/, ''))
  return `${network.join(':')}::/64`
}
