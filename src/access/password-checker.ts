import { createHmac, randomBytes } from 'node:crypto'
import { verify as verifyBcrypt } from '@node-rs/bcrypt'
import { LRUCache } from 'lru-cache'
import type { BasicCredentials } from './basic.ts'
import { createGate } from './gate.ts'
import type { HtpasswdEntry } from './htpasswd.ts'
import { createLoginThrottle, type LoginThrottleLimits } from './login-throttle.ts'
import { createUserList, type UserList } from './user-list.ts'

/** What came of a check; `retryAfter` is in milliseconds. */
export type Verdict = { outcome: 'ok' | 'cached' | 'failed' } | { outcome: 'limited'; retryAfterMs: number }

/** The users of the registry; one per process, since it holds the limit on bcrypt jobs. */
export interface PasswordChecker {
  /** Compares a password of a client at `address` with the user's; never rejects because of what the client sent. */
  check(given: BasicCredentials, address: string): Promise<Verdict>
  /** Takes the entries of a changed file: passwords that are gone are refused from now on, also those that are being checked. */
  replace(entries: readonly HtpasswdEntry[]): void
}

/** Bounds on the work and the memory that strangers can cause. */
export interface PasswordLimits {
  /** bcrypt jobs at once, and checks that may wait for them. */
  jobs: { running: number; waiting: number }
  throttle: LoginThrottleLimits
  /** Remembered passwords, and how many milliseconds a wrong one is remembered. */
  cache: { maxAccepted: number; maxRejected: number; rejectedTtlMs: number }
}

const defaults: PasswordLimits = {
  jobs: { running: 2, waiting: 64 },
  throttle: { burst: 20, refillMs: 3000, maxAddresses: 10_000 },
  cache: { maxAccepted: 1024, maxRejected: 4096, rejectedTtlMs: 30_000 }
}

// bcrypt ignores what follows; accepting it would make every password with the same beginning valid.
const longestPassword = 72

/** All that is true only for one state of the file; a new state starts a new one, and checks under way end in the old. */
interface Generation {
  readonly roll: UserList
  readonly running: Map<string, Promise<Verdict>>
  readonly rejected: LRUCache<string, number>
}

/** Credentials that are checked with bcrypt; `verify` stands in for it in tests, `now` tells milliseconds. */
export function createPasswordChecker(options: {
  entries: readonly HtpasswdEntry[]
  now: () => number
  verify?: (password: Uint8Array, hash: string) => Promise<boolean>
  limits?: Partial<PasswordLimits>
}): PasswordChecker {
  const { now, verify = verifyBcrypt } = options
  const limits = { ...defaults, ...options.limits }
  const attempts = createLoginThrottle(limits.throttle, now)
  const gate = createGate(limits.jobs)
  const accepted = new LRUCache<string, { user: string; hash: string }>({ max: limits.cache.maxAccepted })
  const secret = randomBytes(32)
  let current = begin(options.entries)

  function begin(entries: readonly HtpasswdEntry[]): Generation {
    return { roll: createUserList(entries), running: new Map(), rejected: new LRUCache({ max: limits.cache.maxRejected }) }
  }

  // A password must not rest in memory as a key; a user holds no NUL, so that the two cannot be cut differently.
  function keyOf({ user, password }: BasicCredentials): string {
    return createHmac('sha256', secret).update(user).update('\0').update(password).digest('base64')
  }

  async function match(roll: UserList, { user, password }: BasicCredentials): Promise<string | undefined> {
    for (const hash of roll.hashesOf(user)) if (await verify(password, hash)) return hash
    for (const decoy of roll.decoysOf(user)) await verify(password, decoy)
    return undefined
  }

  async function settle(key: string, user: string, job: Promise<string | undefined>, generation: Generation): Promise<Verdict> {
    try {
      const hash = await job
      // The file may have changed meanwhile, so that the password counts only if it is valid now.
      if (hash !== undefined && current.roll.hashesOf(user).includes(hash)) {
        accepted.set(key, { user, hash })
        return { outcome: 'ok' }
      }
      generation.rejected.set(key, now() + limits.cache.rejectedTtlMs)
      return { outcome: 'failed' }
    } finally {
      generation.running.delete(key)
    }
  }

  async function start(key: string, given: BasicCredentials, address: string): Promise<Verdict> {
    const generation = current
    const wait = attempts.take(address)
    if (wait !== undefined) return { outcome: 'limited', retryAfterMs: wait }
    // One permit for all hashes of the user: they run one after the other.
    const job = gate.run(() => match(generation.roll, given))
    if (!job) {
      attempts.refund(address)
      return { outcome: 'limited', retryAfterMs: 1000 }
    }
    const flight = settle(key, given.user, job, generation)
    generation.running.set(key, flight)
    const verdict = await flight
    if (verdict.outcome === 'ok') attempts.refund(address)
    return verdict
  }

  return {
    async check(given, address) {
      if (given.password.length > longestPassword) return { outcome: 'failed' }
      const key = keyOf(given)
      if (accepted.get(key)) return { outcome: 'cached' }
      if ((current.rejected.get(key) ?? Number.NEGATIVE_INFINITY) > now()) return { outcome: 'failed' }
      // No await from here until the check is in the map: that is the whole of single-flight.
      const flight = current.running.get(key)
      if (!flight) return await start(key, given, address)
      const verdict = await flight
      return verdict.outcome === 'ok' ? { outcome: 'cached' } : verdict
    },
    replace(entries) {
      current = begin(entries)
      for (const [key, { user, hash }] of [...accepted.entries()]) {
        if (!current.roll.hashesOf(user).includes(hash)) accepted.delete(key)
      }
    }
  }
}
