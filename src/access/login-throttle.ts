import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'

/** How many passwords one remote address may try. */
export interface LoginThrottleLimits {
  /** Attempts that are free at once. */
  burst: number
  /** Time until one more attempt is free. */
  refillMs: number
  /** Addresses with a bucket; the one used least recently is forgotten first. */
  maxAddresses: number
}

/** A token bucket of login attempts per remote address. */
export interface LoginThrottle {
  /** Takes one attempt, or returns the milliseconds until the next one is free. */
  take(address: string): number | undefined
  /** Returns the attempt of a login that succeeded. */
  refund(address: string): void
}

/** Creates a throttle; `now` is in milliseconds. */
export function createLoginThrottle(limits: LoginThrottleLimits, now: () => number): LoginThrottle {
  const buckets = new LRUCache<string, { attempts: number; at: number }>({ max: limits.maxAddresses })

  function refill(key: string): { attempts: number; at: number } {
    const at = now()
    const bucket = buckets.get(key) ?? { attempts: limits.burst, at }
    // A clock that steps back adds nothing and takes nothing.
    const gained = Math.max(0, at - bucket.at) / limits.refillMs
    const filled = { attempts: Math.min(limits.burst, bucket.attempts + gained), at }
    buckets.set(key, filled)
    return filled
  }

  return {
    take(address) {
      const bucket = refill(addressKey(address))
      if (bucket.attempts < 1) return (1 - bucket.attempts) * limits.refillMs
      bucket.attempts--
      return undefined
    },
    refund(address) {
      const bucket = refill(addressKey(address))
      bucket.attempts = Math.min(limits.burst, bucket.attempts + 1)
    }
  }
}

/** The key of an address: an IPv4 address, or the /64 network of an IPv6 address, all of which one host can use. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const groups = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  // A dotted quad at the end is two groups; it is never in the first four.
  const written = groups.length + right.length + (address.includes('.') ? 1 : 0)
  const all = tail === undefined ? groups : [...groups, ...Array<string>(Math.max(0, 8 - written)).fill('0'), ...right]
  const network = all.slice(0, 4).map(group => group.replace(/^0+(?=.)/, ''))
  return `${network.join(':')}::/64`
}
