import { createHmac, randomBytes } from 'node:crypto'
import { verify as verifyBcrypt } from '@node-rs/bcrypt'
import { LRUCache } from 'lru-cache'
import type { BasicCredentials } from './basic.ts'
import { type BcryptLimits, createBcryptQueue, limited, type Verdict } from './bcrypt-queue.ts'
import type { HtpasswdEntry } from './htpasswd.ts'
import { createUserList, type UserList } from './user-list.ts'

export type { Verdict }

/** Checks passwords with bcrypt. One per process, since it holds the limit on bcrypt jobs. */
export interface PasswordChecker {
  /** Compares the password that a client at `address` sent with the user's; never rejects because of its input. */
  check(credentials: BasicCredentials, address: string): Promise<Verdict>
  /** Takes the entries of a changed file. Removed passwords are refused from now on, also those being checked. */
  replace(entries: readonly HtpasswdEntry[]): void
  /** What identifies the passwords of the user in force; undefined if the user is unknown. */
  fingerprintOf(user: string): string | undefined
}

/** Bounds on the work and the memory that unauthenticated clients can cause. */
export interface PasswordLimits extends BcryptLimits {
  /** Entries of the cache of wrong passwords, and their TTL. */
  cache: { maxRejected: number; rejectedTtlMs: number }
}

const defaults: PasswordLimits = {
  jobs: { running: 2, waiting: 64 },
  // All pulls of a large cluster present one password at once, each on a connection of its own.
  waiters: { perCheck: 16_384, total: 24_576 },
  throttle: {
    login: { burst: 20, refillMs: 3000 },
    // What comes at once takes its time from all other clients. Every user has a kept place besides.
    address: { burst: 32, refillMs: 1000 },
    // A cost of 10, the usual one, is 1,024 rounds, about 50 ms: 40 attempts at once, for long a fifth of a processor.
    rounds: { burst: 40_960, refillMs: 0.25 },
    maxBuckets: 10_000
  },
  heldMs: 3000,
  cache: { maxRejected: 4096, rejectedTtlMs: 30_000 }
}

// bcrypt ignores further bytes; accepting them would make every password with the same first 72 bytes valid.
const maxPasswordBytes = 72

interface RunningCheck {
  readonly verdict: Promise<Verdict>
  waiters: number
}

/** State of one version of the file. A change starts a new generation; running checks end in the old one. */
interface Generation {
  readonly entries: readonly HtpasswdEntry[]
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
  const queue = createBcryptQueue(limits, now)
  // Never evicted: a line of the file has one password, so there are at most as many as lines.
  const accepted = new Map<string, { user: string; hash: string }>()
  const keyOf = createCacheKeys()
  let current = createGeneration(options.entries, limits)

  async function matches(key: string, credentials: BasicCredentials, { users }: Generation): Promise<boolean> {
    const hash = await match(users, credentials, verify)
    const { user } = credentials
    // The file may have changed during the job: only a hash that is still in it counts.
    if (hash === undefined || !current.users.hashesOf(user).includes(hash)) return false
    accepted.set(key, { user, hash })
    return true
  }

  async function start(key: string, credentials: BasicCredentials, address: string): Promise<Verdict> {
    const generation = current
    const { user } = credentials
    const { rounds, hashesOf } = generation.users
    const begun = queue.run({
      key,
      login: { address, user, rounds },
      owner: hashesOf(user).length > 0 ? user : undefined,
      // One job for all hashes of the user, which are verified one after the other.
      job: () => matches(key, credentials, generation)
    })
    if ('outcome' in begun) return begun
    generation.running.set(key, { verdict: begun.verdict, waiters: 0 })
    try {
      const verdict = await begun.verdict
      if (verdict.outcome === 'failed') generation.rejected.set(key, now() + limits.cache.rejectedTtlMs)
      return verdict
    } finally {
      generation.running.delete(key)
    }
  }

  async function join(check: RunningCheck): Promise<Verdict> {
    const verdict = await (queue.wait(() => check.verdict, check.waiters++) ?? limited)
    return verdict.outcome === 'ok' ? { outcome: 'cached' } : verdict
  }

  return {
    async check(credentials, address) {
      if (credentials.password.length > maxPasswordBytes) return { outcome: 'failed' }
      const key = keyOf(credentials)
      if (accepted.has(key)) return { outcome: 'cached' }
      if ((current.rejected.get(key) ?? Number.NEGATIVE_INFINITY) > now()) return { outcome: 'failed' }
      // Single-flight: no await from here until `start` has put the check into the map.
      const running = current.running.get(key)
      return await (running ? join(running) : start(key, credentials, address))
    },
    fingerprintOf: user => current.users.fingerprintOf(user),
    replace(entries) {
      if (isSame(entries, current.entries)) return
      current = createGeneration(entries, limits)
      for (const [key, { user, hash }] of [...accepted]) {
        if (!current.users.hashesOf(user).includes(hash)) accepted.delete(key)
      }
    }
  }
}

function createGeneration(entries: readonly HtpasswdEntry[], { cache }: PasswordLimits): Generation {
  return { entries, users: createUserList(entries), running: new Map(), rejected: new LRUCache({ max: cache.maxRejected }) }
}

function isSame(some: readonly HtpasswdEntry[], others: readonly HtpasswdEntry[]): boolean {
  return some.length === others.length && some.every(({ user, hash }, at) => user === others[at]?.user && hash === others[at].hash)
}

/** The hash that the password matches. Always does the work of all hashes and decoys if none matches. */
async function match(users: UserList, { user, password }: BasicCredentials, verify: Verify): Promise<string | undefined> {
  for (const hash of users.hashesOf(user)) if (await verify(password, hash)) return hash
  for (const decoy of users.decoysOf(user)) await verify(password, decoy)
  return undefined
}

// Keyed digests, so that no password stays in memory. A user contains no NUL, so the pair can be split in one way only.
function createCacheKeys(): (credentials: BasicCredentials) => string {
  const secret = randomBytes(32)
  return ({ user, password }) => createHmac('sha256', secret).update(user).update('\0').update(password).digest('base64')
}
