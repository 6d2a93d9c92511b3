import { hash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { type BucketLimits, createTokenBuckets } from './token-buckets.ts'

/** How many passwords may be tried, and how much bcrypt work wrong ones may cause. */
export interface LoginThrottleLimits {
  /** Attempts at one user from one address. */
  login: BucketLimits
  /** Attempts of one address, whatever the users. */
  address: BucketLimits
  /** Rounds of bcrypt for all attempts. */
  rounds: BucketLimits
  /** Buckets per address, and per address and user; the one used least recently is forgotten first. */
  maxBuckets: number
}

/** An attempt at a user from a remote address. */
export interface Login {
  address: string
  user: string
  /** The rounds of bcrypt that a failure takes, the same for all users. */
  rounds: number
}

/**
 * Token buckets of login attempts. Those of an address and a user bound what can be guessed. The others are shared, so
 * that a stranger can empty them: they bound the work, and are no reason to refuse a right password.
 */
export interface LoginThrottle {
  /** Takes an attempt at the user from the address, or returns the milliseconds until the next one is free. */
  take(login: Login): number | undefined
  /** Takes an attempt from what users of the address, and all addresses, share; false if there is none. */
  takeShared(login: Login): boolean
  refund(login: Login): void
  refundShared(login: Login): void
}

/** Creates a throttle; `now` is in milliseconds. */
export function createLoginThrottle({ login, address, rounds, maxBuckets }: LoginThrottleLimits, now: () => number): LoginThrottle {
  const logins = createTokenBuckets(login, maxBuckets, now)
  const addresses = createTokenBuckets(address, maxBuckets, now)
  const all = createTokenBuckets(rounds, 1, now)
  return {
    take: each => logins.take(loginKey(each)),
    refund: each => logins.refund(loginKey(each)),
    takeShared(each) {
      const key = addressKey(each.address)
      if (addresses.take(key) !== undefined) return false
      if (all.take('', each.rounds) === undefined) return true
      addresses.refund(key)
      return false
    },
    refundShared(each) {
      addresses.refund(addressKey(each.address))
      all.refund('', each.rounds)
    }
  }
}

// A digest, since a client may send a name of kilobytes.
function loginKey({ address, user }: Login): string {
  return `${addressKey(address)} ${hash('sha256', user, 'base64')}`
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
