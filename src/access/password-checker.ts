import { createHmac, randomBytes } from 'node:crypto'
import { verify as verifyBcrypt } from '@node-rs/bcrypt'
import { LRUCache } from 'lru-cache'
import type { BasicCredentials } from './basic.ts'
import { createGate } from './gate.ts'
import type { HtpasswdEntry } from './htpasswd.ts'
import { createLoginThrottle, type LoginThrottleLimits } from './login-throttle.ts'
import { createUserList, type UserList } from './user-list.ts'

/** The result of a check. */
export type Verdict = { outcome: 'ok' | 'cached' | 'failed' } | Limited

type Limited = { outcome: 'limited'; retryAfterMs: number }

/** Checks passwords with bcrypt. One per process, since it holds the limit on bcrypt jobs. */
export interface PasswordChecker {
  /** Compares the password that a client at `address` sent with the user's; never rejects because of its input. */
  check(credentials: BasicCredentials, address: string): Promise<Verdict>
  /** Takes the entries of a changed file. Removed passwords are refused from now on, also those being checked. */
  replace(entries: readonly HtpasswdEntry[]): void
}

/** Bounds on the work and the memory that unauthenticated clients can cause. */
export interface PasswordLimits {
  /** bcrypt jobs at once, and checks that may wait for one. */
  jobs: { running: number; waiting: number }
  /** Checks that may wait for a running one of the same password: for each of them, and in sum. */
  waiters: { perCheck: number; total: number }
  throttle: LoginThrottleLimits
  /** Entries of the caches of right and wrong passwords, and the TTL of a wrong one. */
  cache: { maxAccepted: number; maxRejected: number; rejectedTtlMs: number }
}

const defaults: PasswordLimits = {
  jobs: { running: 2, waiting: 64 },
  // All pulls of a large cluster present one password at once, each on a connection of its own.
  waiters: { perCheck: 16_384, total: 24_576 },
  throttle: { burst: 20, refillMs: 3000, maxAddresses: 10_000 },
  cache: { maxAccepted: 1024, maxRejected: 4096, rejectedTtlMs: 30_000 }
}

// bcrypt ignores further bytes; accepting them would make every password with the same first 72 bytes valid.
const maxPasswordBytes = 72

interface RunningCheck {
  readonly verdict: Promise<Verdict>
  waiters: number
}

/** State of one version of the file. A change starts a new generation; running checks end in the old one. */
interface Generation {
  readonly users: UserList
  readonly running: Map<string, RunningCheck>
  /** When the rejection of a password expires. */
  readonly rejected: LRUCache<string, number>
}

type Verify = (password: Uint8Array, hash: string) => Promise<boolean>

/** Creates a checker; `now` is in milliseconds. */
export function createPasswordChecker(options: {
  entries: readonly HtpasswdEntry[]
  now: () => number
  verify?: Verify
  limits?: Partial<PasswordLimits>
}): PasswordChecker {
  const { now, verify = verifyBcrypt } = options
  const limits = { ...defaults, ...options.limits }
  const jobs = createBcryptJobs(limits, now)
  const join = createJoin(limits.waiters)
  const accepted = new LRUCache<string, { user: string; hash: string }>({ max: limits.cache.maxAccepted })
  const keyOf = createCacheKeys()
  let current = createGeneration(options.entries, limits)

  async function settle(key: string, user: string, job: Promise<string | undefined>, generation: Generation): Promise<Verdict> {
    try {
      const hash = await job
      // The file may have changed during the job: only a hash that is still in it counts.
      if (hash !== undefined && current.users.hashesOf(user).includes(hash)) {
        accepted.set(key, { user, hash })
        return { outcome: 'ok' }
      }
      generation.rejected.set(key, now() + limits.cache.rejectedTtlMs)
      return { outcome: 'failed' }
    } finally {
      generation.running.delete(key)
    }
  }

  async function start(key: string, credentials: BasicCredentials, address: string): Promise<Verdict> {
    const generation = current
    // One job for all hashes of the user, which are verified one after the other.
    const job = jobs.start(address, () => match(generation.users, credentials, verify))
    if ('outcome' in job) return job
    const check = { verdict: settle(key, credentials.user, job.result, generation), waiters: 0 }
    generation.running.set(key, check)
    const verdict = await check.verdict
    if (verdict.outcome === 'ok') jobs.refund(address)
    return verdict
  }

  return {
    async check(credentials, address) {
      if (credentials.password.length > maxPasswordBytes) return { outcome: 'failed' }
      const key = keyOf(credentials)
      if (accepted.get(key)) return { outcome: 'cached' }
      if ((current.rejected.get(key) ?? Number.NEGATIVE_INFINITY) > now()) return { outcome: 'failed' }
      // Single-flight: no await from here until `start` has put the check into the map.
      const running = current.running.get(key)
      return await (running ? join(running) : start(key, credentials, address))
    },
    replace(entries) {
      current = createGeneration(entries, limits)
      for (const [key, { user, hash }] of [...accepted.entries()]) {
        if (!current.users.hashesOf(user).includes(hash)) accepted.delete(key)
      }
    }
  }
}

function createGeneration(entries: readonly HtpasswdEntry[], { cache }: PasswordLimits): Generation {
  return { users: createUserList(entries), running: new Map(), rejected: new LRUCache({ max: cache.maxRejected }) }
}

/** The hash that the password matches. Always does the work of all hashes and decoys if none matches. */
async function match(users: UserList, { user, password }: BasicCredentials, verify: Verify): Promise<string | undefined> {
  for (const hash of users.hashesOf(user)) if (await verify(password, hash)) return hash
  for (const decoy of users.decoysOf(user)) await verify(password, decoy)
  return undefined
}

/** Runs bcrypt jobs within the limits per address and in sum. */
function createBcryptJobs(limits: PasswordLimits, now: () => number) {
  const throttle = createLoginThrottle(limits.throttle, now)
  const gate = createGate(limits.jobs)
  return {
    start<T>(address: string, job: () => Promise<T>): { result: Promise<T> } | Limited {
      const waitMs = throttle.take(address)
      if (waitMs !== undefined) return { outcome: 'limited', retryAfterMs: waitMs }
      const result = gate.run(job)
      if (result) return { result }
      throttle.refund(address)
      return { outcome: 'limited', retryAfterMs: 1000 }
    },
    refund: (address: string) => throttle.refund(address)
  }
}

/**
 * Waits for a running check, within the limits. A check outlives the connection of its request, so the number of
 * connections does not bound the waiters.
 */
function createJoin({ perCheck, total }: PasswordLimits['waiters']): (check: RunningCheck) => Promise<Verdict> {
  let waiting = 0
  return async check => {
    if (check.waiters >= perCheck || waiting >= total) return { outcome: 'limited', retryAfterMs: 1000 }
    check.waiters++
    waiting++
    try {
      const verdict = await check.verdict
      return verdict.outcome === 'ok' ? { outcome: 'cached' } : verdict
    } finally {
      waiting--
    }
  }
}

// Keyed digests, so that no password stays in memory. A user contains no NUL, so the pair can be split in one way only.
function createCacheKeys(): (credentials: BasicCredentials) => string {
  const secret = randomBytes(32)
  return ({ user, password }) => createHmac('sha256', secret).update(user).update('\0').update(password).digest('base64')
}
